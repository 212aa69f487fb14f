"""Keys of recipes that YAML reads as another type than text."""

import re

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


def check_key(key: yaml.Node, place: str) -> None:
    """Refuse a key that YAML does not read as the text that is written.

    YAML reads the keys ``on``, ``no``, ``yes`` and ``off`` as truth values, ``null`` and ``~`` as null, ``010`` as 8.

    Args:
        key: Node of the key.
        place: Where it is, for the error.

    Raises:
        MtlError: If it is such a key.

    Example:
        >>> check_key(yaml.compose("on"), "recipe.yaml")
        Traceback (most recent call last):
        mtl_lightning.errors.MtlError: recipe.yaml: YAML reads the key on as a truth value (quote it: 'on')
    """
    read_as = READ_AS.get(key.tag)
    if read_as is None or (key.tag.endswith(":int") and INTEGER.fullmatch(str(key.value))):
        return
    written = f"the key {key.value}" if key.value else "an empty key"
    hint = f"quote it: '{key.value}'" if key.value else "name it"
    raise MtlError(f"{place}: YAML reads {written} as {read_as}", hint)
