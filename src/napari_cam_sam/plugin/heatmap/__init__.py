"""Step 1: heatmaps of a classifier or a network."""
