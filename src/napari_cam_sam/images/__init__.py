"""Geometry, planes, windows and preprocessing of images; reading and writing them."""
