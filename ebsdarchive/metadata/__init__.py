"""What people say about a scan: its vocabulary, files of it, and changes to it."""
