"""The command ``plugins new``: create a working plugin package from templates."""

import importlib.util
import keyword
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from rich.markup import escape

from mtl_lightning.cli.completion import TEMPLATES
from mtl_lightning.errors import MtlError, PluginError
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.entries import HOOKS, normalize
from mtl_lightning.printable import Console

SUFFIX = ".tmpl"
"""Suffix of templates, by which tools do not take them for modules."""


@dataclass(frozen=True)
class NewPlugin:
    """A plugin package to write.

    Args:
        distribution: Name for ``pip``; the package has the same name with underscores.
        kind: A kind of component, or ``recipe``.
        component: Name of the component or recipe, as recipes spell it.

    Raises:
        MtlError: If a name can't be used.

    Example:
        >>> plugin = NewPlugin("mtl-lightning-foo", "weighter", "my_foo")
        >>> plugin.package, plugin.class_name, plugin.recipe
        ('mtl_lightning_foo', 'MyFoo', 'ads_my_foo')
        >>> sorted(str(path) for path in plugin.files())[0]
        '.gitignore'
    """

    distribution: str
    kind: str
    component: str

    def __post_init__(self) -> None:
        if self.kind not in TEMPLATES:
            raise MtlError(f"--kind: no kind is called {self.kind!r}", "kinds are " + ", ".join(TEMPLATES))
        if self.distribution != normalize(self.distribution) or not _is_module(self.package):
            raise MtlError(
                f"{self.distribution!r} can't be the name of a package",
                "lower-case letters, digits and single hyphens, from a letter on: mtl-lightning-foo",
            )
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.component) or not _is_module(self.component):
            raise MtlError(
                f"{self.component!r} can't be the name of a {self.kind}",
                "set --component: lower-case letters, digits and underscores, from a letter on",
            )
        if self.component in ("plugin", "recipes"):
            raise MtlError(f"{self.component!r} is the name of another part of the package", "set --component")

    @property
    def package(self) -> str:
        """Name that Python imports."""
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        """Name of the component's class."""
        return "".join(part.capitalize() for part in self.component.split("_"))

    @property
    def recipe(self) -> str:
        """Name of the recipe in the package."""
        return self.component if self.kind in ("source", "recipe") else f"ads_{self.component}"

    def files(self) -> dict[PurePosixPath, str]:
        """Text of every file: the files of all kinds, overlaid by the files of this kind."""
        root = files("mtl_lightning") / "templates"
        templates = {path: text for part in ("common", self.kind) for path, text in _walk(root / part, PurePosixPath())}
        first = templates.get(PurePosixPath("src/package/component.py"), "").split("\n", 1)[0]
        names = {
            "distribution": self.distribution,
            "package": self.package,
            "kind": self.kind,
            "component": self.component,
            "Class": self.class_name,
            "recipe": self.recipe,
            "hook": HOOKS.get(self.kind, "mtl_recipes"),
            "method": first.strip('"')[:1].lower() + first.strip('"')[1:],
        }
        return {self._placed(path): _fill(text, names) for path, text in templates.items()}

    def _placed(self, path: PurePosixPath) -> PurePosixPath:
        parts = [self.package if part == "package" else part for part in path.parts]
        parts[-1] = ".gitignore" if parts[-1] == "gitignore" else parts[-1].replace("component", self.component)
        return PurePosixPath(*parts)


def _is_module(name: str) -> bool:
    return name.isidentifier() and name.isascii() and not keyword.iskeyword(name)


def _walk(folder: Traversable, at: PurePosixPath) -> Iterator[tuple[PurePosixPath, str]]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _walk(item, at / item.name)
        elif item.name.endswith(SUFFIX):
            yield at / item.name.removesuffix(SUFFIX), item.read_text(encoding="utf-8")


def _fill(text: str, names: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: names[match[1]], text)


def component_of(distribution: str) -> str:
    """The component's name that a distribution's name suggests.

    Example:
        >>> component_of("mtl-lightning-cov"), component_of("acme-ranking")
        ('cov', 'acme_ranking')
    """
    return re.sub(r"^mtl-(lightning-)?(?=.)", "", distribution).replace("-", "_")


def write(plugin: NewPlugin, folder: Path) -> Path:
    """Write the package into ``folder``, all of it or nothing.

    Raises:
        MtlError: If the target exists, or can't be written.
    """
    target = folder / plugin.distribution
    partial = folder / f".{plugin.distribution}.partial"
    if target.exists() or target.is_symlink():
        raise MtlError(f"{target} exists and is not overwritten", "choose another name, or another --out")
    try:
        partial.mkdir(parents=True)
        try:
            for path, text in plugin.files().items():
                (partial / path).parent.mkdir(parents=True, exist_ok=True)
                (partial / path).write_text(text, encoding="utf-8", newline="\n")
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise MtlError(f"{target} can't be written: {error.strerror}", f"{partial} must not exist") from error
    return target


def new_plugin(name: str, kind: str, component: str, out: Path) -> None:
    """Create a plugin package and print how to use it.

    Args:
        name: Name of the distribution.
        kind: Kind of component.
        component: The component's name; by default :func:`component_of` the distribution.
        out: Directory in which the package's directory is created.

    Raises:
        MtlError: If a name can't be used, or the target can't be written.
    """
    plugin = NewPlugin(name, kind, component or component_of(name))
    if plugin.package in sys.stdlib_module_names or importlib.util.find_spec(plugin.package) is not None:
        raise MtlError(f"a package {plugin.package!r} is installed already", "choose another name")
    for of_kind, taken in ((kind, plugin.component), ("recipe", plugin.recipe)):
        owners = [entry for _, entry in registry().entries(of_kind) if entry.name == taken]
        if owners:
            raise PluginError(f"{owners[0].distribution} has a {of_kind} called {taken!r}", "set --component")
    target = write(plugin, out)
    console = Console(highlight=False, emoji=False)
    console.print(f"wrote {escape(str(target))}: the {kind} [bold]{plugin.component}[/bold]", soft_wrap=True)
    console.print(f"  pip install -e '{escape(str(target))}[test]'".replace("[test]", "\\[test]"), soft_wrap=True)
    console.print(f"  pytest {escape(str(target))}", soft_wrap=True)
    console.print(f"  mtl-lightning fit recipe={plugin.recipe}", soft_wrap=True)
