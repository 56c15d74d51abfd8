"""Masks through a volume."""
