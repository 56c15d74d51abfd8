"""What a study does: its file, its settings, and the presets of papers."""
