"""Layers of recipes: reading YAML, writing short forms out, and merging one layer over another."""

from collections.abc import Callable, Mapping
from typing import Any

import yaml

from mtl_lightning.config import yaml_text
from mtl_lightning.config.pairs import NAMED, NAMED_PER_ENTRY, merge
from mtl_lightning.errors import MtlError

Layer = dict[str, Any]
Note = Callable[[str], None]

SWAPPED = ("source", "encoder", "architecture", "weighter", "split")
"""Sections whose options belong to the chosen name, and are dropped with it."""

SWAPPED_PER_ENTRY = ("heads", "losses", "features")
"""Sections in which this holds for each entry."""

PER_TASK = ("heads", "losses", "metrics")


def read_layer(text: str, origin: str) -> Layer:
    """Parse one recipe.

    Args:
        text: YAML.
        origin: The file, for errors.

    Raises:
        MtlError: If it is not a YAML mapping of plain values; the message names the line.
        LimitError: If it is too large or too deep.

    Example:
        >>> read_layer("weighter: pcgrad", "here")
        {'weighter': {'name': 'pcgrad'}}
    """
    try:
        layer = yaml_text.load(text, origin)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise MtlError(f"{origin}{line}: {error.problem or error.context}", "a recipe is plain YAML") from error
    except yaml.YAMLError as error:
        raise MtlError(f"{origin}: {' '.join(str(error).split())}", "a recipe is plain YAML") from error
    if layer is None:  # empty, or comments only
        layer = {}
    if not isinstance(layer, dict):
        raise MtlError(f"{origin}: a recipe is a mapping of sections, not a list or a single value")
    return expand({str(key): value for key, value in layer.items()})


def expand(layer: Mapping[str, Any]) -> Layer:
    """Write short forms out: ``weighter: x`` as ``{name: x}``, ``features.user: categorical`` as ``{kind: …}``."""
    result = dict(layer)
    for section, key in NAMED.items():
        if _is_choice(result.get(section)):
            result[section] = {key: result[section]}
    for section, key in NAMED_PER_ENTRY.items():
        entries = result.get(section)
        if isinstance(entries, dict):
            result[section] = {name: {key: e} if _is_choice(e) else e for name, e in entries.items()}
    return result


def _is_choice(value: Any) -> bool:
    return value is not None and not isinstance(value, dict | list)


def lay_over(below: Layer, above: Layer, note: Note | None = None) -> Layer:
    """One layer over another.

    Mappings merge, everything else is replaced, and an entry of null is removed. If the upper layer chooses another
    component, the options that the lower layer gave to the old component are dropped.

    Args:
        below: The recipe.
        above: What changes it; in long form.
        note: Called with a sentence for everything that is dropped.

    Example:
        >>> notes = []
        >>> below = {"weighter": {"name": "gradnorm", "alpha": 1.5}}
        >>> lay_over(below, {"weighter": {"name": "famo"}}, notes.append)
        {'weighter': {'name': 'famo'}}
        >>> notes
        ["weighter: dropped alpha, which the recipe gave to 'gradnorm'"]
    """
    below = dict(below)
    for section in SWAPPED:
        below[section] = _swap(section, NAMED[section], below.get(section), above.get(section), note)
    for section in SWAPPED_PER_ENTRY:
        old, new = below.get(section), above.get(section)
        if isinstance(old, dict) and isinstance(new, dict):
            key = NAMED_PER_ENTRY[section]
            below[section] = {n: _swap(f"{section}.{n}", key, e, new.get(n), note) for n, e in old.items()}
    _forget_tasks(below, above, note)
    return merge({key: value for key, value in below.items() if value is not None}, above)


def _swap(path: str, key: str, old: Any, new: Any, note: Note | None) -> Any:
    """The lower layer's entry, without its options if the upper one names another component."""
    if not isinstance(old, dict) or not isinstance(new, dict) or new.get(key) in (None, old.get(key)):
        return old
    stale = [option for option in old if option != key and option not in new]
    if key == "by":
        stale = [option for option in stale if option == "column"]  # the shares of a split mean the same in any split
    if stale and note is not None:
        owner = f"{old[key]!r}" if old.get(key) is not None else "the default"
        note(f"{path}: dropped {', '.join(stale)}, which the recipe gave to {owner}")
    return {option: value for option, value in old.items() if option not in stale}


def _forget_tasks(below: Layer, above: Layer, note: Note | None) -> None:
    """Drop heads, losses and metrics of tasks that the upper layer removes."""
    tasks = above.get("tasks")
    removed = [name for name, task in tasks.items() if task is None] if isinstance(tasks, dict) else []
    for section in PER_TASK:
        entries = below.get(section)
        if isinstance(entries, dict):
            gone = [name for name in removed if name in entries]
            below[section] = {name: entry for name, entry in entries.items() if name not in gone}
            if gone and note is not None:
                note(f"{section}: dropped {', '.join(gone)}, whose task is removed")
