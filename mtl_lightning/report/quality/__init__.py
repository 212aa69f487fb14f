"""Report of a log's quality: tables, page and plots."""
