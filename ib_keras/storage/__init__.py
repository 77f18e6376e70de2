"""Files: manifests with checksums, locks, journals, arrays, data sets, buckets."""
