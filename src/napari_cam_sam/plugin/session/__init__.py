"""Work that is saved, by itself and by hand, and brought back."""
