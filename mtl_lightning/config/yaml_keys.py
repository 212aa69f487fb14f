"""Keys of recipes that YAML reads as another type than text."""

import re
from typing import Any

import yaml

from mtl_lightning.errors import MtlError

INTEGER = re.compile(r"0|-?[1-9][0-9]*")
"""Integers that print as they are written, so that their text is the key."""
READ_AS = {
    "tag:yaml.org,2002:bool": "a truth value",
    "tag:yaml.org,2002:null": "null",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:int": "a number",
}


def check_keys(text: str, origin: str, loader: Any = yaml.SafeLoader) -> None:
    """Refuse keys that YAML does not read as the text that is written.

    YAML reads the keys ``on``, ``no``, ``yes`` and ``off`` as truth values, ``null`` and ``~`` as null, ``010`` as 8.

    Args:
        text: YAML.
        origin: Where it is from, for the error.
        loader: Loader whose types count.

    Raises:
        MtlError: Naming the first such key and its line.

    Example:
        >>> check_keys("tasks: {'on': binary}", "recipe.yaml")
        >>> check_keys("tasks: {on: binary}", "recipe.yaml")
        Traceback (most recent call last):
        mtl_lightning.errors.MtlError: recipe.yaml: YAML reads the key on as a truth value (quote it: 'on')
    """
    waiting, seen = [yaml.compose(text, Loader=loader)], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias of a node that was checked
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            for key, _ in node.value:
                _check(key, f"{origin}, line {key.start_mark.line + 1}" if "\n" in text else origin)
            waiting += [value for _, value in reversed(node.value)]


def _check(key: yaml.Node, place: str) -> None:
    read_as = READ_AS.get(key.tag)
    if read_as is None or (key.tag.endswith(":int") and INTEGER.fullmatch(str(key.value))):
        return
    written = f"the key {key.value}" if key.value else "an empty key"
    hint = f"quote it: '{key.value}'" if key.value else "name it"
    raise MtlError(f"{place}: YAML reads {written} as {read_as}", hint)
