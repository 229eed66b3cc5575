"""Arrays to bytes and back: lossless pattern filters, level tables, and the pool that runs them."""
