"""Step 3: masks from prompts."""
