"""Classifiers and segmentation networks: build, load safely, describe."""
