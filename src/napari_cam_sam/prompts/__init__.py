"""Points and boxes: from heatmaps, from masks, and as JSON."""
