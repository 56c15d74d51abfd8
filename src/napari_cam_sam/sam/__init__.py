"""Segmenters: registry and download, encode and decode, with weights and without."""
