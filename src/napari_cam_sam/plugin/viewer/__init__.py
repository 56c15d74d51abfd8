"""What each viewer with a dock has: one workspace, whose work is saved, and its keys."""
