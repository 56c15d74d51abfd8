"""All that touches napari or Qt: layers to core data and back, workers, docks."""
