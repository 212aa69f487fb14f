"""A configuration while it is being checked: what is known so far, and everything that is wrong."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from mtl_lightning.config.binding import Bound, bind
from mtl_lightning.config.record import Component
from mtl_lightning.errors import MtlError, PluginError, Problem, did_you_mean
from mtl_lightning.plugins.names import Registry
from mtl_lightning.schema import Task


@dataclass
class Draft:
    """Parts of a configuration; a part that could not be made is missing here and explained in ``problems``.

    Args:
        plain: The composed recipe.
        registry: Where names are resolved.
        problems: Everything that is wrong.
        features: Features that could be made.
        tasks: Tasks that could be made, in the recipe's order.
        classes: Resolved classes by path, for checks across sections.
        columns: Raw columns that options name, by path.
        fields: Features that options name, by path.
    """

    plain: Mapping[str, Any]
    registry: Registry
    problems: list[Problem] = field(default_factory=list)
    features: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    classes: dict[str, type] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)

    def problem(self, path: str, reason: str, hint: str = "") -> None:
        """Note something that is wrong."""
        self.problems.append(Problem(path, reason, hint))

    def section(self, name: str) -> dict[str, Any]:
        """A section as a mapping; empty if the recipe has none or something else stands there."""
        value = self.plain.get(name)
        if value is not None and not isinstance(value, Mapping):
            self.problem(name, f"expects a mapping, not {value!r}")
        return dict(value) if isinstance(value, Mapping) else {}

    def bound(self, path: str, target: Any, given: Mapping[str, Any], **how: Any) -> Bound:
        """Bind options, and keep the columns and features that they name."""
        try:
            bound = bind(target, given, path, self.problems, **how)
        except PluginError as error:
            self.problem(path, error.message, error.hint)
            return Bound()
        self.columns |= bound.columns
        self.fields |= bound.fields
        return bound

    def record(self, path: str, target: Any, given: Mapping[str, Any], **how: Any) -> Any:
        """Bind options to a record of settings and make it; None if anything is wrong."""
        before = len(self.problems)
        bound = self.bound(path, target, given, **how)
        if len(self.problems) > before:
            return None
        try:
            return target(**bound.options)
        except MtlError as error:
            place, separator, reason = error.message.partition(": ")
            named = bool(separator) and (place == path or place.startswith(f"{path}."))
            self.problem(place if named else path, reason if named else error.message, error.hint)
        except ValueError as error:
            self.problem(path, str(error))
        return None

    def component(self, path: str, kind: str, spec: Any, *, without: Collection[str] = ()) -> Component | None:
        """Resolve a component and bind its options.

        Args:
            path: Where it stands.
            kind: Kind of the registry.
            spec: ``{"name": …, option: …}`` or a name.
            without: Parameters that are not for a recipe.
        """
        given = {"name": spec} if isinstance(spec, str) else spec
        if not isinstance(given, Mapping):
            self.problem(path, f"expects the name of a {kind}, not {given!r}", f"write {path}.name")
            return None
        options = {str(key): value for key, value in given.items() if key != "name"}
        name = given.get("name")
        if not isinstance(name, str):
            hint = "known: " + ", ".join(self.registry.names(kind))
            self.problem(f"{path}.name", f"names no {kind}" if name is None else f"{name!r} is no name", hint)
            return None
        try:
            found = self.registry.resolve(kind, name)
        except PluginError as error:
            known = self.registry.names(kind)
            self.problem(
                f"{path}.name", error.message, error.hint or did_you_mean(name, () if name in known else known)
            )
            return None
        self.classes[path] = found
        bound = self.bound(path, found, options, owner=f"{kind} {name!r}", also=("name",), without=without)
        return Component(name, bound.options)
