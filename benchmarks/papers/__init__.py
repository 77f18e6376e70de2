"""Results at the size of the publications: small tables and figures of the papers' pages."""
