"""Scores against a truth: of slices, labels, objects and volumes."""
