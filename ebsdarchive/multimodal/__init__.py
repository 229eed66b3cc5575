"""EBSD maps and polarised-light images of one field of view, as channels of one image."""
