"""Embeddings of planes, kept in memory and on disk."""
