"""napari's readers, writers and sample data."""
