"""Restorers: from noisy patterns to estimates of what a longer exposure would have shown."""
