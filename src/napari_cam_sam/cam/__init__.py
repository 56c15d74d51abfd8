"""Heatmaps: class activation maps of a classifier, plane by plane."""
