"""Step 2: prompts from heatmaps or from a truth."""
