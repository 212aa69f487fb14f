"""Hooks of plugins. A plugin is a module (or object) with any of these hooks and ``MTL_API = 1``."""

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import typer

MTL_API = 1
hookspec = pluggy.HookspecMarker("mtl_lightning")
hookimpl = pluggy.HookimplMarker("mtl_lightning")


@hookspec
def mtl_sources() -> dict[str, str]:  # type: ignore[empty-body]
    """Data sources: name → ``"package.module:Class"``, imported on use. The next ten hooks have the same form."""


@hookspec
def mtl_features() -> dict[str, str]:  # type: ignore[empty-body]
    """Kinds of features: raw columns → model inputs."""


@hookspec
def mtl_encoders() -> dict[str, str]:  # type: ignore[empty-body]
    """Encoders: batch → z."""


@hookspec
def mtl_architectures() -> dict[str, str]:  # type: ignore[empty-body]
    """Architectures: z → one representation per task."""


@hookspec
def mtl_heads() -> dict[str, str]:  # type: ignore[empty-body]
    """Task heads: representation (and parents' outputs) → prediction."""


@hookspec
def mtl_losses() -> dict[str, str]:  # type: ignore[empty-body]
    """Losses of one task."""


@hookspec
def mtl_weighters() -> dict[str, str]:  # type: ignore[empty-body]
    """Loss and gradient weighters: the tasks' losses → one objective."""


@hookspec
def mtl_metrics() -> dict[str, str]:  # type: ignore[empty-body]
    """Metrics of one task, by task kind."""


@hookspec
def mtl_loggers() -> dict[str, str]:  # type: ignore[empty-body]
    """Loggers of a run: files and trackers."""


@hookspec
def mtl_executors() -> dict[str, str]:  # type: ignore[empty-body]
    """Executors: what runs a function on many parts, on this machine or on a cluster."""


@hookspec
def mtl_launchers() -> dict[str, str]:  # type: ignore[empty-body]
    """Launchers: what starts the processes of a run."""


@hookspec
def mtl_recipes() -> list[str]:  # type: ignore[empty-body]
    """Packages whose ``*.yaml`` files are recipes."""


@hookspec
def mtl_callbacks(config: dict[str, Any]) -> list[Any]:  # type: ignore[empty-body]
    """Lightning callbacks for a run with this resolved configuration."""


@hookspec
def mtl_commands(app: "typer.Typer") -> None:
    """Add commands to the command line."""
