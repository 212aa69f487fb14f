"""Distributions: what they hold, and that one works without the checkout. The workflows are those that users expect."""

import json
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from environments import ROOT, build, copy_sources, fresh_environment, run

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source distribution of the tracked files, and the wheel that is built from it."""
    source, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        copy_sources(source)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            copy = source / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / name).read_bytes())
    found = build(source, out)  # without --wheel and --sdist, the wheel is made from the source distribution
    return {"wheel" if path.suffix == ".whl" else "sdist": path for path in found}


@pytest.mark.slow
def test_the_source_distribution_holds_what_tests_and_site_need(distributions: dict[str, Path]) -> None:
    with tarfile.open(distributions["sdist"]) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    wanted = {"README.md", "README.zh-CN.md", "CHANGELOG.md", "LICENSE", "constraints.txt", "mkdocs.yml", "conftest.py"}
    wanted |= {"tests/unit/test_release.py", "docs/start.md", ".ci/run", "recipes/ads.yaml", "website/hooks.py"}
    wanted |= {"plugins/mtl-lightning-template/pyproject.toml", "mtl_lightning/templates/common/README.md.tmpl"}
    assert wanted <= held
    assert [name for name in held if name.endswith(".pyc") or "__pycache__" in name] == []


@pytest.mark.slow
def test_the_wheel_of_the_source_distribution_is_the_package_and_nothing_else(distributions: dict[str, Path]) -> None:
    with zipfile.ZipFile(distributions["wheel"]) as archive:
        held = [name for name in archive.namelist() if ".dist-info/" not in name]
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    assert [name for name in held if not name.startswith("mtl_lightning/")] == []
    assert {"mtl_lightning/py.typed", "mtl_lightning/recipes/ads.yaml"} <= set(held)
    for kind in ("common", "weighter", "source", "recipe"):
        assert any(name.startswith(f"mtl_lightning/templates/{kind}/") for name in held)
    assert f"Requires-Python: {PROJECT['requires-python']}" in text
    assert "License-Expression: Apache-2.0" in text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_trains_without_the_checkout(
    distributions: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    programs = fresh_environment(tmp_path_factory.mktemp("environment"), distributions["wheel"])
    where = run(programs, tmp_path, "python", "-c", "import mtl_lightning; print(mtl_lightning.__file__)")
    assert Path(where.strip()).is_relative_to(programs.parent)
    settings = ["source.rows=6000", "trainer.max_epochs=1", "trainer.accelerator=cpu", "run.dir=run"]
    run(programs, tmp_path, "mtl-lightning", "fit", "recipe=ads", *settings)
    assert "test/click/auc" in (tmp_path / "run" / "metrics.json").read_text()
    record = json.loads(run(programs, tmp_path, "mtl-lightning", "plugins", "--json", "--check"))
    assert record["problems"] == []
    run(programs, tmp_path, "mtl-lightning", "plugins", "new", "acme-one", "--kind", "loss")
    run(programs, tmp_path, "pip", "install", "-q", "--no-index", "--no-build-isolation", "./acme-one")
    assert "passed" in run(programs, tmp_path, "pytest", "-q", "acme-one")


def test_workflows_are_yaml_with_jobs_whose_actions_have_versions() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "release"]
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                assert ("uses" in step) != ("run" in step)
                assert "@" in step.get("uses", "@")


def test_ci_runs_what_contributors_run_on_every_supported_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    test: dict[str, Any] = workflow["jobs"]["test"]
    versions = test["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert [c.split(":: ")[-1] for c in PROJECT["classifiers"] if "Python :: 3." in c] == versions
    assert "bash .ci/run" in [step.get("run") for step in test["steps"]]
    assert f"Python {versions[0]} to {versions[-1]}" in (ROOT / "docs" / "stability.md").read_text()


def test_lower_bounds_are_those_of_the_project() -> None:
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints-lower.txt").read_text().splitlines() if "==" in line
    )
    for requirement in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["export"]]:
        name, _, bound = requirement.partition(">=")
        lowest = bound.split(",")[0]
        assert pinned[name] == lowest or pinned[name].startswith(f"{lowest}."), requirement
