"""Rules of the project that no linter knows: sizes, names, what the wheel holds, where methods may be named."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from mtl_lightning.plugins import registry
from mtl_lightning.plugins.names import KINDS

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("mtl_lightning", "recipes") for path in (ROOT / folder).rglob("*.py"))
FORBIDDEN = {"utils", "common", "helpers", "manager", "misc"}
KNOWS_NO_METHOD = ("training/module.py", "training/network.py", "training/step.py")


def tracked() -> list[str]:
    """Files in git, or a skip where the sources came without it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("no git repository")
    return [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists()]


def code_lines(path: Path) -> int:
    """Lines of a file that are neither blank, nor comments, nor parts of docstrings."""
    text = path.read_text()
    left_out = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") for place, line in lines if place not in left_out
    )


def test_no_file_has_more_than_300_lines_of_code():
    sizes = {str(path.relative_to(ROOT)): code_lines(path) for path in SOURCES}
    assert {name: lines for name, lines in sizes.items() if lines > 300} == {}


def test_no_file_or_class_is_named_for_nothing():
    assert [path for path in SOURCES if FORBIDDEN & set(path.stem.split("_"))] == []
    classes = [
        f"{path.name}: {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and (node.name.startswith("Base") or node.name.lower().endswith(tuple(FORBIDDEN)))
    ]
    assert classes == []


@pytest.mark.parametrize("file", KNOWS_NO_METHOD)
def test_training_knows_no_component_by_name(file):
    names = {name for kind in KINDS for name in registry().names(kind)}
    tree = ast.parse((ROOT / "mtl_lightning" / file).read_text())
    constants = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert constants & names == set()


def test_every_package_is_named_in_pyproject():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {".".join(path.relative_to(ROOT).parent.parts) for path in SOURCES if path.name == "__init__.py"}
    assert set(listed) == {"mtl_lightning.recipes" if folder == "recipes" else folder for folder in folders}
    assert listed == sorted(listed)


def test_the_wheel_holds_what_git_holds(tmp_path):
    files = [name for name in tracked() if name.startswith(("mtl_lightning/", "recipes/"))]
    for name in [*files, "pyproject.toml", "README.md", "LICENSE"]:
        copy = tmp_path / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, tmp_path / "source"],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == {f"mtl_lightning/{name}" if name.startswith("recipes/") else name for name in files}
    assert {"mtl_lightning/py.typed", "mtl_lightning/recipes/ads.yaml", "mtl_lightning/recipes/base.yaml"} <= held


def test_tested_versions_cover_every_requirement():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    extras = [item for extra in project["optional-dependencies"].values() for item in extra]
    wanted = {
        "".join(c if c.isalnum() or c in "-_." else " " for c in item).split()[0]
        for item in [*project["dependencies"], *extras]
    }
    assert {name.lower().replace("_", "-") for name in wanted} - pinned == {"mtl-lightning"}


def test_ci_runs_the_command_of_the_readme():
    commands = [
        line for line in (ROOT / "README.md").read_text().splitlines() if "pip install" in line and "pytest" in line
    ]
    assert len(commands) == 1
    assert commands[0] in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("test", sorted((ROOT / "tests" / "unit").rglob("test_*.py")), ids=lambda path: path.stem)
def test_unit_tests_mirror_the_package(test):
    folder = ROOT / "mtl_lightning" / test.parent.relative_to(ROOT / "tests" / "unit")
    tested = [path.stem for path in folder.glob("*.py")] + [path.name for path in folder.iterdir() if path.is_dir()]
    tested += [folder.name]  # tests of a whole subpackage
    name = test.stem.removeprefix("test_")
    assert any(name == module or name.startswith(f"{module}_") for module in tested), (
        f"name it test_<module of {folder.name}>.py or test_<module>_<topic>.py"
    )
