"""Training of a classifier."""
