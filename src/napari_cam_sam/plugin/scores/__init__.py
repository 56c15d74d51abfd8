"""Step 4: scores against a truth."""
