"""Results of the published size: small tables and figures of the papers' pages."""
