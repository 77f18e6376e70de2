"""Reporter: merges the estimates of many tasks into one table, pictures and a page."""
