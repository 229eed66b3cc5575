"""What is computed from patterns and fields: orientations, their deviation, and grains."""
