"""All masks of a plane, ranked by a heatmap and named by texts."""
