"""What is computed from patterns: Hough indexing and the deviation between orientations."""
