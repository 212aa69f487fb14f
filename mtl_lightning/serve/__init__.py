"""HTTP service of an export."""
