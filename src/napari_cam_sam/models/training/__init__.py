"""Classifiers from image-level labels: images, split, training, figures."""
