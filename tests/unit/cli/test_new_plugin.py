"""``plugins new``: for every kind a package whose tests pass at once, clean for ruff and mypy."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mtl_lightning.cli.app import build_app
from mtl_lightning.cli.completion import TEMPLATES
from mtl_lightning.cli.new_plugin import NewPlugin, component_of, write
from mtl_lightning.errors import MtlError
from mtl_lightning.testing import CONTRACTS

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "plugins" / "mtl-lightning-template"
TOOLS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A plugin of each kind, written by the command."""
    folder = tmp_path_factory.mktemp("made")
    app = build_app()
    for kind in TEMPLATES:
        done = CliRunner().invoke(app, ["plugins", "new", f"acme-my-{kind}", "--kind", kind, "--out", str(folder)])
        assert done.exit_code == 0, done.output
        assert f"acme_my_{kind}" in done.output
    return {kind: folder / f"acme-my-{kind}" for kind in TEMPLATES}


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    plain = {key: value for key, value in os.environ.items() if key not in ("MTL_PLUGINS", "PYTHONPATH")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**plain, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


def registered(created: dict[str, Path], site: Path) -> str:
    """Register all of them as pip would: metadata next to the sources; returns the path that has it."""
    for kind, folder in created.items():
        points = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]["mtl_lightning"]
        info = site / f"acme_my_{kind}-0.1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-my-{kind}\nVersion: 0.1.0\n")
        lines = "".join(f"{name} = {target}\n" for name, target in points.items())
        (info / "entry_points.txt").write_text(f"[mtl_lightning]\n{lines}")
    return os.pathsep.join([str(site), *(str(folder / "src") for folder in created.values())])


@pytest.mark.slow
def test_the_contract_of_every_kind_passes_at_once(packages: dict[str, Path], tmp_path: Path) -> None:
    path = registered(packages, tmp_path / "site")
    tests = [folder / "tests" for kind, folder in packages.items()]
    quiet = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", os.devnull, "--rootdir", packages["loss"]]
    out = run(sys.executable, "-m", "pytest", *quiet, *tests, cwd=tmp_path, PYTHONPATH=path, MTL_CACHE=str(tmp_path))
    assert "skipped" not in out
    record = json.loads(run(sys.executable, "-m", "mtl_lightning", "plugins", "--json", "--check", PYTHONPATH=path))
    assert [plugin["name"] for plugin in record["plugins"] if plugin["failure"]] == []
    for kind in TEMPLATES:
        assert f"acme-my-{kind}/acme_my_{kind}" in [entry["qualified"] for entry in record["names"][kind]]


@pytest.mark.parametrize("kind", [kind for kind in CONTRACTS if kind in TEMPLATES])
def test_each_has_the_test_of_its_contract(kind: str, packages: dict[str, Path]) -> None:
    text = (packages[kind] / "tests" / f"test_acme_my_{kind}.py").read_text()
    assert f"class TestAcmeMy{kind.capitalize()}({CONTRACTS[kind].__name__}):" in text
    assert "{{" not in "".join(file.read_text() for file in packages[kind].rglob("*") if file.is_file())


def test_ruff_finds_nothing(packages: dict[str, Path]) -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    # In a project of its own the package is first-party, and mtl_lightning is not.
    settings = ["--isolated", "--line-length=120", "--target-version=py311"]
    chosen = [f"--select={','.join(lint['select'])}", f"--ignore={','.join(lint['ignore'])}"]
    extra = ["--config=src=['src']", "--config=lint.pydocstyle.convention='google'", "--no-cache"]
    extra.append("--config=lint.per-file-ignores={'tests/**'=['D']}")
    for folder in packages.values():
        run(TOOLS / "ruff", "check", *settings, *chosen, *extra, ".", cwd=folder)
        run(TOOLS / "ruff", "format", "--check", *settings, "--no-cache", ".", cwd=folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mypy_strict_finds_nothing(packages: dict[str, Path]) -> None:
    # The settings of the repository, so that mypy finds torch and mtl_lightning in the cache of the static checks.
    sources = [folder / part for folder in packages.values() for part in ("src", "tests")]
    path = os.pathsep.join([*(str(folder / "src") for folder in packages.values()), str(ROOT)])
    files = [file for source in sources for file in source.rglob("*.py")]
    settings = ["--strict", "--explicit-package-bases"]
    run(sys.executable, "-m", "mypy", *settings, *files, MYPYPATH=path)


def test_the_template_in_the_repository_is_what_the_command_writes(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    folder = tmp_path / "plugins"
    write(NewPlugin("mtl-lightning-template", "weighter", "cov"), folder)
    # Here mtl_lightning is first-party too, so that imports are sorted in one block.
    run(TOOLS / "ruff", "check", "--fix", "--select=I", "--no-cache", ".", cwd=tmp_path)
    ignored = ("build", "__pycache__", ".pytest_cache")
    remaining = [
        path.relative_to(TEMPLATE)
        for path in TEMPLATE.rglob("*")
        if path.is_file() and not any(part in ignored or part.endswith(".egg-info") for part in path.parts)
    ]
    written = {path.relative_to(folder / TEMPLATE.name) for path in folder.rglob("*") if path.is_file()}
    assert set(remaining) == written
    assert [
        str(path) for path in remaining if (folder / TEMPLATE.name / path).read_text() != (TEMPLATE / path).read_text()
    ] == []


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("Foo", [], "'Foo' can't be the name of a package"),
        ("mtl lightning", [], "can't be the name of a package"),
        ("../escape", [], "can't be the name of a package"),
        ("2fast", [], "can't be the name of a package"),
        ("class", [], "can't be the name of a package"),
        ("json", [], "'json' is installed already"),
        ("torch", [], "'torch' is installed already"),
        ("mtl-lightning-pcgrad", [], "mtl-lightning has a weighter called 'pcgrad'"),
        ("mtl-lightning-ads", ["--kind", "recipe"], "mtl-lightning has a recipe called 'ads'"),
        ("mtl-lightning-foo", ["--component", "Foo"], "'Foo' can't be the name of a weighter"),
        ("mtl-lightning-foo", ["--component", "lambda"], "'lambda' can't be the name of a weighter"),
        ("mtl-lightning-plugin", [], "'plugin' is the name of another part"),
        ("mtl-lightning-foo", ["--kind", "callback"], "no kind is called 'callback'"),
    ],
)
def test_names_that_cannot_be_used_are_refused_and_nothing_is_written(
    name: str, arguments: list[str], reason: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(build_app(), ["plugins", "new", name, "--out", str(tmp_path), *arguments])
    assert isinstance(done.exception, MtlError)
    assert reason in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_and_nothing_is_left_behind(tmp_path: Path) -> None:
    plugin = NewPlugin("mtl-lightning-foo", "loss", "foo")
    (tmp_path / "mtl-lightning-foo").mkdir()
    (tmp_path / "mtl-lightning-foo" / "mine").write_text("mine")
    with pytest.raises(MtlError, match="exists and is not overwritten"):
        write(plugin, tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["mtl-lightning-foo", "mine"]
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(MtlError, match="can't be written"):
        write(plugin, file)


@pytest.mark.parametrize("kind", [kind for kind in TEMPLATES if kind != "recipe"])
def test_plugin_modules_import_no_component(kind: str) -> None:
    for path, text in NewPlugin("acme-one", kind, "one").files().items():
        if path.suffix == ".py":
            tree = ast.parse(text)
            if path.name == "plugin.py":
                imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
                assert imported == {"mtl_lightning.hookspecs"}


def test_the_component_is_named_by_the_distribution() -> None:
    assert component_of("mtl-lightning-cov") == "cov"
    assert component_of("mtl-cov-two") == "cov_two"
    assert component_of("mtl-lightning") == "lightning"
