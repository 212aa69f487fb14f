"""Names of components and recipes, and who supplies them. Free of torch until a name is resolved."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.resources.abc import Traversable
from typing import Any, Protocol

from mtl_lightning.errors import MtlError, PluginError, Problem, nearest
from mtl_lightning.plugins.entries import KINDS, Entry, PluginInfo, import_class, normalize


class Calls(Protocol):
    """The hooks that act during a run, called plugin by plugin."""

    def callbacks(self, config: dict[str, Any]) -> list[Any]:
        """Callbacks for a run."""

    def commands(self, app: Any) -> None:
        """Add commands."""


class Registry:
    """All names of all plugins.

    Args:
        plugins: Every plugin found, with failures, in load order.
        entries: What the plugins that work supply.
        calls: The hooks that act during a run.
        left_out: Plugins that ``MTL_PLUGINS`` leaves out.

    Errors: names that can't be chosen raise :class:`~mtl_lightning.errors.PluginError`.

    Example:
        >>> from mtl_lightning.plugins import registry
        >>> registry().entry("weighter", "pcgrad").qualified
        'mtl-lightning/pcgrad'
        >>> registry().entry("weighter", "pcgard")
        Traceback (most recent call last):
        mtl_lightning.errors.PluginError: no weighter is called 'pcgard' (did you mean 'pcgrad'?)
    """

    def __init__(
        self,
        plugins: Sequence[PluginInfo],
        entries: Iterable[Entry],
        calls: Calls | None = None,
        left_out: Sequence[str] = (),
    ) -> None:
        self.plugins = list(plugins)
        self.left_out = tuple(left_out)
        self._calls = calls
        self._owners: dict[tuple[str, str], list[Entry]] = {}
        for entry in entries:
            self._owners.setdefault((entry.kind, entry.name), []).append(entry)
        self._resolved: dict[Entry, type] = {}

    def entries(self, kind: str) -> Iterator[tuple[str, Entry]]:
        """Every name of a kind with its entry: plain where one plugin owns it, else ``distribution/name`` of each."""
        for (of_kind, name), owners in sorted(self._owners.items(), key=lambda item: item[0]):
            if of_kind == kind:
                yield from ((name if len(owners) == 1 else entry.qualified, entry) for entry in owners)

    def names(self, kind: str) -> list[str]:
        """Names of a kind that can be chosen, sorted."""
        return [name for name, _ in self.entries(kind)]

    def entry(self, kind: str, name: str, *, owner: str | None = None) -> Entry:
        """Who supplies a name.

        Args:
            kind: One of :data:`KINDS`, or ``recipe``.
            name: Plain, or ``distribution/name``.
            owner: Distribution that comes first for a plain name (a recipe extends the recipes of its own package).

        Raises:
            PluginError: If nobody has the name, or several have it and it is plain.
        """
        distribution, _, plain = name.rpartition("/")
        owners = self._owners.get((kind, plain), [])
        chosen = [entry for entry in owners if entry.distribution == normalize(distribution or owner or "")]
        if not distribution:
            chosen = chosen or owners
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            who = " and ".join(f"{entry.distribution} {entry.version}" for entry in chosen)
            raise PluginError(
                f"several plugins have a {kind} called {name!r}: {who}",
                "choose " + " or ".join(entry.qualified for entry in chosen),
            )
        raise PluginError(f"no {kind} is called {name!r}", "; ".join(self._leads(kind, name)))

    def _leads(self, kind: str, name: str) -> Iterator[str]:
        known = [*self.names(kind), *(entry.qualified for _, entry in self.entries(kind))]
        if close := nearest(name, known):
            yield f"did you mean {close!r}?"
        if others := [other for other in KINDS if other != kind and (other, name) in self._owners]:
            yield f"{name!r} is a name of kind {', '.join(others)}"
        for plugin in self.plugins:
            if plugin.failure is not None:
                yield f"plugin {plugin} failed and may have supplied it: {plugin.failure.reason}"
        if self.left_out:
            yield f"MTL_PLUGINS leaves out {', '.join(self.left_out)}"

    def listed(self, kind: str, name: str) -> str:
        """The name under which :meth:`entries` lists what a name stands for, so that one component has one name.

        Raises:
            PluginError: As :meth:`entry` does.

        Example:
            >>> from mtl_lightning.plugins import registry
            >>> registry().listed("architecture", "mtl-lightning/mmoe"), registry().listed("architecture", "mmoe")
            ('mmoe', 'mmoe')
        """
        entry = self.entry(kind, name)
        return entry.name if len(self._owners[kind, entry.name]) == 1 else entry.qualified

    def resolve(self, kind: str, name: str) -> type:
        """Import the class that a name stands for.

        Raises:
            PluginError: If the name can't be chosen, its module can't be imported, or the class breaks the contract.
        """
        entry = self.entry(kind, name)
        if entry not in self._resolved:
            self._resolved[entry] = import_class(entry)
        return self._resolved[entry]

    def name_of(self, kind: str, component: type) -> str | None:
        """The name by which a class can be chosen; None if nobody supplies it."""
        target = f"{component.__module__}:{component.__qualname__}"
        names = (
            name
            for name, entry in self.entries(kind)
            if target == entry.target or component is self._resolved.get(entry)
        )
        return next(names, None)

    def recipes(self) -> dict[str, Traversable]:
        """Recipe files by the name that chooses them."""
        return {name: entry.file for name, entry in self.entries("recipe") if entry.file is not None}

    def recipe(self, name: str, *, owner: str | None = None) -> Traversable:
        """The file of one recipe; errors and ``owner`` as for :meth:`entry`."""
        file = self.entry("recipe", name, owner=owner).file
        assert file is not None
        return file

    def versions(self) -> dict[str, str]:
        """Version of every distribution whose names or hooks are in use."""
        working = {plugin.distribution: plugin.version for plugin in self.plugins if plugin.failure is None}
        supplying = {entry.distribution: entry.version for owners in self._owners.values() for entry in owners}
        return dict(sorted((working | supplying).items()))

    def callbacks(self, config: dict[str, Any]) -> list[Any]:
        """Callbacks that plugins add to a run; a plugin that fails here is warned about and recorded, not fatal."""
        return self._calls.callbacks(config) if self._calls else []

    def commands(self, app: Any) -> None:
        """Let plugins add commands to the command line; failures as in :meth:`callbacks`."""
        if self._calls:
            self._calls.commands(app)

    def check(self) -> list[Problem]:
        """Resolve every name; what doesn't work, failed plugins included."""
        problems = [
            Problem(str(plugin), f"{plugin.failure.stage}: {plugin.failure.reason}")
            for plugin in self.plugins
            if plugin.failure is not None
        ]
        for kind in KINDS:
            for _, entry in self.entries(kind):
                try:
                    self.resolve(kind, entry.qualified)
                except MtlError as error:
                    problems.append(Problem(entry.plugin, error.message, error.hint))
        return problems
