"""Plugins: what is installed, the names that it supplies, and the classes behind them."""

from mtl_lightning.plugins.loader import GROUP, KINDS, Entry, Failure, PluginInfo, Registry, load, registry

__all__ = ["GROUP", "KINDS", "Entry", "Failure", "PluginInfo", "Registry", "load", "registry"]
