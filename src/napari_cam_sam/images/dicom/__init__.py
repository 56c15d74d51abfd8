"""DICOM: series found, stacked and read; segmentations and contours read and written."""
