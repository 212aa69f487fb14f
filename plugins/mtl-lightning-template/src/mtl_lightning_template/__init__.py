"""A plugin for mtl_lightning to copy. Components are imported by name, so this module imports nothing."""
