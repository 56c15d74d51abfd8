"""Running a study, here or on a cluster."""
