"""Overlap, surface, localisation of heatmaps, and quality of prompts."""
