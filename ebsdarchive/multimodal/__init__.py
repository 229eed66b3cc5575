"""EBSD together with polarised light: synthetic maps, diffusion models of both, posterior samples.

Maps are float32 arrays of channels [c, y, x] in [-1, 1]: three of orientation, then those of light.
"""
