"""A plugin for mtl_lightning. Components are imported by name, so this module imports nothing."""
