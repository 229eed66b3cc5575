"""Scans with known truth: grains, patterns from a master pattern, and the noise of a camera.

`simulate_scan` makes a polycrystal scan, `simulate_patterns` the patterns of given orientations.
kikuchipy, orix, scipy and numba are imported when they are needed, not before.
"""

from ebsdarchive.simulation.camera import Camera
from ebsdarchive.simulation.master_pattern import MasterPattern, read_master_pattern
from ebsdarchive.simulation.microstructure import Microstructure, polycrystal
from ebsdarchive.simulation.simulated import SimulatedPatterns, simulate_patterns, simulate_scan

__all__ = [
    "Camera",
    "MasterPattern",
    "Microstructure",
    "SimulatedPatterns",
    "polycrystal",
    "read_master_pattern",
    "simulate_patterns",
    "simulate_scan",
]
