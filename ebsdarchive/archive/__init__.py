"""The archive file: nodes, safe writes, layers, provenance, views for other readers, checks."""
