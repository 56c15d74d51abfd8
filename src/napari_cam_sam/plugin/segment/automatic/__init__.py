"""All masks of a slice, and names for them."""
