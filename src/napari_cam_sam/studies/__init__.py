"""Many images run with the same settings: data sets, settings, runs, tables and reports."""
