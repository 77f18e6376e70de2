"""Reporter: one table, one picture and one page from the estimates of many tasks."""
