"""The segmenter without weights."""
