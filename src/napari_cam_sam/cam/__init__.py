"""Heatmaps: class activation maps of classifiers and segmentation networks."""
