"""Widgets and threads, which know nothing of images."""
