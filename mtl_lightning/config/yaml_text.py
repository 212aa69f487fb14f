"""YAML of recipes: plain values only, parsed within limits, and written so that it reads back the same."""

import re
from typing import Any

import yaml

from mtl_lightning.config.limits import MAX_BYTES, MAX_DEPTH, MAX_VALUES, LimitError, too_deep, too_many
from mtl_lightning.config.yaml_keys import check_key

TAG = "tag:yaml.org,2002:"
TYPES = ("null", "bool", "int", "float", "str", "seq", "map", "merge", "value")
"""YAML types of a recipe; times stay text."""
WORDS = re.compile(r"[yYnN]|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF")
"""Text that is quoted when written, since some YAML parsers read it as a Boolean."""


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's plain types, without repeated keys, times, sets and binary values."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Construct a mapping without repeated keys. Its own keys override merged ones (``<<``)."""
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, _ in node.value:
                check_key(key, f"{self.origin}, line {key.start_mark.line + 1}" if self.has_lines else self.origin)
                if key.tag != f"{TAG}merge" and (key.tag, str(key.value)) in seen:
                    raise _refused(f"found duplicate key {key.value}", key)
                seen.add((key.tag, str(key.value)))
            self.flatten_mapping(node)
        mapping = super().construct_mapping(node, deep=deep)
        for key in mapping:
            if not isinstance(key, str | int | float):
                raise _refused(f"a key must be text, not {key!r}", node)
        return mapping

    def construct_checked(self, node: Any) -> Any:
        """Construct a scalar. Its text must fit its tag (``!!int x`` doesn't)."""
        kind = node.tag.removeprefix(TAG)
        try:
            return Loader.scalars[kind](self, node)
        except (ValueError, KeyError, IndexError, OverflowError) as error:
            raise _refused(f"{node.value[:60]!r} can't be read as {kind}", node) from error

    scalars = {
        "int": yaml.SafeLoader.construct_yaml_int,
        "float": yaml.SafeLoader.construct_yaml_float,
        "bool": yaml.SafeLoader.construct_yaml_bool,
    }


def _refused(reason: str, node: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, reason, node.start_mark)


Loader.yaml_constructors = {
    tag: construct
    for tag, construct in Loader.yaml_constructors.items()
    if tag is None or tag.removeprefix(TAG) in TYPES
}
for _kind in Loader.scalars:
    Loader.add_constructor(TAG + _kind, Loader.construct_checked)
Loader.add_implicit_resolver(  # 1e-4 is a number, with or without a point
    TAG + "float",
    re.compile(
        r"""^(?:
         [-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
        |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
        |[-+]?[0-9]+(?:_[0-9]+)*(?::[0-5]?[0-9])+\.[0-9_]*
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)
Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag.removeprefix(TAG) in TYPES]
    for first, resolvers in Loader.yaml_implicit_resolvers.items()
}


class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Dumper that quotes text that the loader would read as another type, and writes every value in full."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        """Ignore anchors, so that shared values are written twice."""
        return True

    def represent_text(self, text: str) -> Any:
        """Represent text, quoted if it may be read as a Boolean."""
        return self.represent_scalar(TAG + "str", text, style="'" if WORDS.fullmatch(text) else None)


Dumper.add_representer(str, Dumper.represent_text)


def load(text: str, origin: str) -> Any:
    """Parse one document.

    Args:
        text: YAML.
        origin: Where it comes from, for errors.

    Raises:
        LimitError: If it is too large or too deep, aliases counted as often as they are used.
        MtlError: If a key is not the text that it looks like.
        yaml.YAMLError: If it is not YAML of plain values.

    Example:
        >>> load("seed: 1e-4", "here")
        {'seed': 0.0001}
    """
    check_size(text, origin)
    loader = Loader(text)
    loader.origin, loader.has_lines = origin, "\n" in text
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def check_size(text: str, origin: str) -> None:
    """Check the size to which a document unfolds from its events, before any value is built.

    Args:
        text: YAML.
        origin: Where it comes from, for errors.

    Raises:
        LimitError: If it is too large or too deep, aliases counted as often as they are used.
        yaml.YAMLError: If it is not YAML.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise yaml.YAMLError(f"{text[error.start]!r} is not a character") from error
    if size > MAX_BYTES:
        raise LimitError(f"{origin}: is larger than {MAX_BYTES / 1e6:.0f} MB, the limit")
    open_nodes: list[list[Any]] = []  # values so far, deepest level below, anchor
    known: dict[str, tuple[int, int]] = {}
    for event in yaml.parse(text, Loader):
        size, height, anchor = 1, 0, getattr(event, "anchor", None)
        if isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            open_nodes.append([1, 0, anchor])
            if anchor is not None:
                known.pop(anchor, None)
            if len(open_nodes) > MAX_DEPTH:
                raise too_deep(origin)
            continue
        if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            size, height, anchor = open_nodes.pop()
            height += 1
        elif isinstance(event, yaml.AliasEvent):
            if any(node[2] == anchor for node in open_nodes):
                raise _refused(f"*{anchor} contains itself", event)
            size, height = known.get(str(anchor), (1, 0))
            anchor = None
        elif not isinstance(event, yaml.ScalarEvent):
            continue
        if anchor is not None:
            known[anchor] = size, height
        if open_nodes:
            above = open_nodes[-1]
            above[0], above[1] = above[0] + size, max(above[1], height)
            size = above[0]
        if size > MAX_VALUES:
            raise too_many(origin)
        if len(open_nodes) + height > MAX_DEPTH:
            raise too_deep(origin)


def dump(plain: Any) -> str:
    r"""Write plain values as YAML that :func:`load` reads back the same.

    Example:
        >>> dump({"path": "数据/*.csv", "eps": "1e-4"})
        "path: 数据/*.csv\neps: '1e-4'\n"
    """
    return str(yaml.dump(plain, Dumper=Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False))
