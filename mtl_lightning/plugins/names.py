"""Names of components and recipes with the plugins that supply them. Free of torch until a name is resolved."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.resources.abc import Traversable
from typing import Any, Protocol

from mtl_lightning.errors import MtlError, PluginError, Problem, nearest
from mtl_lightning.plugins.entries import KINDS, Entry, PluginInfo, import_class, normalize


class Calls(Protocol):
    """Hooks that act during a run, called plugin by plugin."""

    def callbacks(self, config: dict[str, Any]) -> list[Any]:
        """Callbacks for a run."""

    def commands(self, app: Any) -> None:
        """Add commands."""


class Registry:
    """All names of all plugins.

    Args:
        plugins: Every plugin found, with failures, in load order.
        entries: Names that working plugins supply.
        calls: Hooks that act during a run.
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
        """Names of a kind with their entries: ``distribution/name`` where several plugins own a name."""
        for (of_kind, name), owners in sorted(self._owners.items(), key=lambda item: item[0]):
            if of_kind == kind:
                yield from ((name if len(owners) == 1 else entry.qualified, entry) for entry in owners)

    def names(self, kind: str) -> list[str]:
        """Sorted names of a kind that can be chosen."""
        return [name for name, _ in self.entries(kind)]

    def entry(self, kind: str, name: str, *, owner: str | None = None) -> Entry:
        """Return the entry of a name.

        Args:
            kind: One of :data:`KINDS`, or ``recipe``.
            name: Plain, or ``distribution/name``.
            owner: Distribution preferred for a plain name (a recipe extends the recipes of its own package).

        Raises:
            PluginError: If the name is unknown, or is plain and several plugins supply it.
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
        """Return the name under which :meth:`entries` lists a component, so that it has one name.

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
        """Import the class of a name.

        Raises:
            PluginError: If the name can't be chosen, its module can't be imported, or the class breaks the contract.
        """
        entry = self.entry(kind, name)
        if entry not in self._resolved:
            self._resolved[entry] = import_class(entry)
        return self._resolved[entry]

    def name_of(self, kind: str, component: type) -> str | None:
        """Name by which a class can be chosen; None if no plugin supplies it."""
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
        """Return the file of a recipe; errors and ``owner`` as for :meth:`entry`."""
        file = self.entry("recipe", name, owner=owner).file
        assert file is not None
        return file

    def versions(self) -> dict[str, str]:
        """Versions of all distributions whose names or hooks are in use."""
        working = {plugin.distribution: plugin.version for plugin in self.plugins if plugin.failure is None}
        supplying = {entry.distribution: entry.version for owners in self._owners.values() for entry in owners}
        return dict(sorted((working | supplying).items()))

    def callbacks(self, config: dict[str, Any]) -> list[Any]:
        """Callbacks that plugins add to a run. A plugin that fails here is recorded and causes a warning."""
        return self._calls.callbacks(config) if self._calls else []

    def commands(self, app: Any) -> None:
        """Let plugins add commands to the command line; failures as in :meth:`callbacks`."""
        if self._calls:
            self._calls.commands(app)

    def check(self) -> list[Problem]:
        """Resolve every name; returns the problems, including failed plugins."""
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
