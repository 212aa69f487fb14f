"""State of a validation: the parts built so far, and all problems."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from mtl_lightning.config.record import Component
from mtl_lightning.errors import PluginError, did_you_mean
from mtl_lightning.plugins import registry as installed
from mtl_lightning.plugins.names import Registry
from mtl_lightning.schema import Task
from mtl_lightning.validation.review import Review


@dataclass
class Draft(Review):
    """Parts of a configuration. A part that could not be built is missing here and explained in ``problems``.

    Args:
        plain: The composed recipe.
        registry: Where names are resolved; the installed plugins by default.
        features: Features that could be built.
        tasks: Tasks that could be built, in the recipe's order.
        classes: Resolved classes by path, for checks across sections.
    """

    plain: Mapping[str, Any] = field(default_factory=dict)
    registry: Registry = field(default_factory=installed)
    features: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    classes: dict[str, type] = field(default_factory=dict)

    def section(self, name: str) -> dict[str, Any]:
        """A section as a mapping; empty if it is missing or is not a mapping."""
        value = self.plain.get(name)
        if value is not None and not isinstance(value, Mapping):
            self.problem(name, f"expects a mapping, not {value!r}")
        return dict(value) if isinstance(value, Mapping) else {}

    def component(self, path: str, kind: str, spec: Any, *, without: Collection[str] = ()) -> Component | None:
        """Resolve a component and bind its options.

        Args:
            path: Place of the component.
            kind: Kind of component, as in the registry.
            spec: ``{"name": …, option: …}`` or a name.
            without: Parameters that a recipe can't set.
        """
        given = {"name": spec} if isinstance(spec, str) else spec
        if not isinstance(given, Mapping):
            self.problem(path, f"expects the name of a {kind}, not {given!r}", f"write {path}.name")
            return None
        options = {str(key): value for key, value in given.items() if key != "name"}
        name, known = given.get("name"), self.registry.names(kind)
        none = "" if known else f"no plugin with a {kind} is installed"
        if not isinstance(name, str):
            hint = none or "known: " + ", ".join(known)
            self.problem(
                f"{path}.name",
                f"is required: the name of a {kind}" if name is None else f"expects a name, not {name!r}",
                hint,
            )
            return None
        try:
            target = self.registry.resolve(kind, name)
        except PluginError as error:
            hint = error.hint or none or did_you_mean(name, () if name in known else known)
            self.problem(f"{path}.name", error.message, hint)
            return None
        self.classes[path] = target
        bound = self.bind(path, target, options, owner=f"{kind} {name!r}", also=("name",), without=without)
        return Component(name, bound.options)
