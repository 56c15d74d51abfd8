"""Segmentation networks, 2D and 3D."""
