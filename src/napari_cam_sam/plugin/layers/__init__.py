"""Layers as data of the core, and back."""
