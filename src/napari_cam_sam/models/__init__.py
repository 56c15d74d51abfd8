"""Classifiers: build, load safely, describe."""
