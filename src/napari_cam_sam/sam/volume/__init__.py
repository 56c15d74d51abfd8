"""Objects of a volume from prompts on a few planes."""
