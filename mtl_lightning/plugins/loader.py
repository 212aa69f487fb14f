"""Discovery and registration of plugins. A broken plugin causes a warning and does not end the program."""

import copy
import functools
import importlib.metadata
import inspect
import logging
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pluggy

from mtl_lightning import hookspecs
from mtl_lightning.errors import PluginError
from mtl_lightning.plugins.checks import check_api, check_callback, read_entries, refuse_foreign
from mtl_lightning.plugins.entries import HOOKS, KINDS, Entry, Failure, PluginInfo, normalize
from mtl_lightning.plugins.names import Registry

__all__ = ["GROUP", "KINDS", "Entry", "Failure", "PluginInfo", "Registry", "load", "registry"]

GROUP = "mtl_lightning"
CORE = ("core", "mtl-lightning")
TABLES = {hook: kind for kind, hook in HOOKS.items()} | {"mtl_recipes": "recipe"}
# Exceptions of plugins are recorded with their traceback. A module that calls sys.exit must not end the program.
ISOLATED = (Exception, SystemExit)
log = logging.getLogger(__name__)


@functools.cache
def registry() -> Registry:
    """Return the registry of this process: all installed plugins, or those listed in ``MTL_PLUGINS`` (``core,foo``).

    Raises:
        PluginError: If ``MTL_PLUGINS`` names a plugin that isn't installed.
    """
    only = [name.strip() for name in os.environ.get("MTL_PLUGINS", "").split(",") if name.strip()]
    return load(importlib.metadata.entry_points(group=GROUP), only)


def load(points: Iterable[importlib.metadata.EntryPoint], only: Sequence[str] = ()) -> Registry:
    """Load entry points one by one, in the same order in every process.

    Args:
        points: Entry points of the group ``mtl_lightning``.
        only: Names of entry points or distributions to load; empty for all.

    Raises:
        PluginError: If ``only`` has a name that no entry point has.
    """
    described = sorted(((_describe(point), point) for point in points), key=lambda pair: _order(pair[0]))
    known = {name for info, _ in described for name in (info.name, info.distribution)}
    if missing := [name for name in only if name not in known]:
        raise PluginError(f"MTL_PLUGINS names {', '.join(missing)}", f"installed are {', '.join(sorted(known))}")
    loader = Loader()
    left_out = []
    for info, point in described:
        if only and info.name not in only and info.distribution not in only:
            left_out.append(info.name)
        else:
            loader.add(info, point)
    return Registry(loader.plugins, loader.entries, loader, left_out)


def _describe(point: importlib.metadata.EntryPoint) -> PluginInfo:
    name = point.dist.name if point.dist else None
    version = point.dist.version if point.dist else None
    return PluginInfo(point.name, normalize(name or "unknown"), version or "unknown", point.value)


def _order(info: PluginInfo) -> tuple[str, ...]:
    return (info.distribution, info.name, info.target)


class Loader:
    """Registers plugins one by one and calls their hooks one by one.

    pluggy's own loader does not isolate plugins: a broken one ends the program, and calls stop at the first hook that
    raises.
    """

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(hookspecs)
        self.plugins: list[PluginInfo] = []
        self.entries: list[Entry] = []
        self._objects: list[tuple[PluginInfo, Any]] = []

    def add(self, info: PluginInfo, point: importlib.metadata.EntryPoint) -> None:
        """Load one entry point; a failure is recorded and leaves no trace in the manager."""
        self.plugins.append(info)
        plugin: Any = None

        def find() -> None:
            nonlocal plugin
            if info.name == CORE[0] and info.distribution != CORE[1]:
                raise PluginError("'core' is the name of the built-ins")
            plugin = point.load()

        def register() -> None:
            key = f"{info.distribution}:{info.name}"
            hash(plugin)  # pluggy keeps plugins in sets; one without a hash would break calls to the others
            if self.manager.is_registered(plugin):
                raise PluginError("another entry point refers to the same plugin")
            if self.manager.has_plugin(key):
                raise PluginError(f"{info.distribution} has two entry points called {info.name!r}")
            self._objects.append((info, plugin))
            self.manager.register(plugin, key)

        entries: list[Entry] = []

        def call(hook: str) -> None:
            entries.extend(self._names(info, plugin, hook))

        stages: tuple[tuple[str, Callable[[], None]], ...] = (
            ("load", find),
            ("lightning", lambda: refuse_foreign(plugin)),
            ("api", lambda: check_api(plugin)),
            ("register", register),
            ("hooks", lambda: self._check_hooks(info, plugin)),
            *((hook, functools.partial(call, hook)) for hook in TABLES),
        )
        for stage, run in stages:
            try:
                run()
            except ISOLATED as error:
                self._fail(info, stage, error)
                return
        self.entries += entries

    def _fail(self, info: PluginInfo, stage: str, error: BaseException) -> None:
        text = error.message if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        hint = f" ({error.hint})" if isinstance(error, PluginError) and error.hint else ""
        reason = " ".join(text.split()) + hint
        info.failure = Failure(stage, reason, "".join(traceback.format_exception(error)))
        for owner, plugin in list(self._objects):
            if owner is info:
                self._objects.remove((owner, plugin))
                if self.manager.is_registered(plugin):
                    self.manager.unregister(plugin)
        if os.environ.get("LOCAL_RANK", "0") == "0":
            shown = f"\n{info.failure.traceback}" if os.environ.get("MTL_DEBUG") else ""
            log.warning("plugin %s is not used: %s: %s%s", info, stage, reason, shown)

    def _check_hooks(self, info: PluginInfo, plugin: Any) -> None:
        self.manager.check_pending()
        info.hooks = tuple(sorted(hook.name for hook in self.manager.get_hookcallers(plugin) or ()))
        specs = [name for name in vars(hookspecs) if name.startswith("mtl_")]
        for name in specs:
            if name not in info.hooks and inspect.isroutine(inspect.getattr_static(plugin, name, None)):
                raise PluginError(f"{name} has no @hookimpl")

    def _call(self, plugin: Any, hook: str, **arguments: Any) -> list[Any]:
        others = [other for _, other in self._objects if other is not plugin]
        result: list[Any] = self.manager.subset_hook_caller(hook, remove_plugins=others)(**arguments)
        return result

    def _names(self, info: PluginInfo, plugin: Any, hook: str) -> Iterator[Entry]:
        mine = {(entry.kind, entry.name) for entry in self.entries if entry.distribution == info.distribution}
        answers = self._call(plugin, hook)
        if hook in info.hooks and not answers:  # pluggy leaves None out
            raise PluginError("it gave None", "return the names, {} or [] for none")
        for answer in answers:
            for entry in read_entries(TABLES[hook], answer, info):
                if (entry.kind, entry.name) in mine:
                    raise PluginError(f"{info.distribution} supplies the {entry.kind} {entry.name!r} twice")
                mine.add((entry.kind, entry.name))
                yield entry

    def callbacks(self, config: dict[str, Any]) -> list[Any]:
        """Callbacks for a run, plugin by plugin."""
        callbacks = []
        for info, plugin in list(self._objects):
            try:
                answers = self._call(plugin, "mtl_callbacks", config=copy.deepcopy(config))
                added = [check_callback(item) for answer in answers for item in answer]
            except ISOLATED as error:
                self._fail(info, "mtl_callbacks", error)
            else:
                callbacks += added
        return callbacks

    def commands(self, app: Any) -> None:
        """Add the commands of plugins, each through an app of its own, so that none can replace a command."""
        import typer
        from typer.main import get_group

        owners = dict.fromkeys(get_group(app).commands, "core")
        for info, plugin in list(self._objects):
            own = typer.Typer()
            try:
                self._call(plugin, "mtl_commands", app=own)
                names = list(get_group(own).commands) if own.registered_commands or own.registered_groups else []
                if taken := [name for name in names if name in owners]:
                    raise PluginError(f"the command {taken[0]!r} belongs to {owners[taken[0]]}")
            except ISOLATED as error:
                self._fail(info, "mtl_commands", error)
            else:
                owners |= dict.fromkeys(names, str(info))
                app.registered_commands += own.registered_commands
                app.registered_groups += own.registered_groups
