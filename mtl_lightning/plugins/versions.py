"""Comparison of plugin versions saved with a run and installed ones."""

from collections.abc import Mapping


def plugin_changes(saved: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Describe differences between the plugin versions saved with a run and the installed ones.

    Example:
        >>> plugin_changes({"core": "0.1", "extra": "2"}, {"core": "0.2"})
        ['core was 0.1, is 0.2', 'extra was 2, is not installed']
    """
    return [
        f"{name} was {version}, is {now.get(name, 'not installed')}"
        for name, version in sorted(saved.items())
        if now.get(name) != version
    ]
