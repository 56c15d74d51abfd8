"""Segment Anything and the models built of its parts."""
