"""An export as an HTTP service."""
