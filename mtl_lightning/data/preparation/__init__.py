"""From a source to splits, fitted transforms and encoded rows."""
