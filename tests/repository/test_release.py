"""Distributions: what they hold, and that one works without the checkout. The workflows are those that users expect."""

import json
import re
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
    result = build(source, out)  # without --wheel and --sdist, the wheel is made from the source distribution
    return {"wheel" if path.suffix == ".whl" else "sdist": path for path in result}


@pytest.mark.slow
def test_the_source_distribution_holds_what_tests_and_site_need(distributions: dict[str, Path]) -> None:
    with tarfile.open(distributions["sdist"]) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    wanted = {"README.md", "README.zh-CN.md", "CHANGELOG.md", "LICENSE", "constraints.txt", "mkdocs.yml", "conftest.py"}
    wanted |= {"tests/repository/test_release.py", "docs/start.md", ".ci/run", "recipes/ads.yaml", "website/hooks.py"}
    wanted |= {".ci/requirements/build.txt", ".github/dependabot.yml"}
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


def test_the_changelog_has_one_change_a_line_under_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    unreleased, newest, *_ = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert unreleased == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(PROJECT['version'])}\] - \d{{4}}-\d\d-\d\d", newest)
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= {"Added", "Changed", "Removed", "Fixed"}
    for line in text[text.index("\n### ") :].splitlines():
        assert re.fullmatch(r"|#+ .+|\w+( \w+)*:|- [^:]+: .{5,140}", line), line


def jobs() -> list[Any]:
    """All jobs of all workflows."""
    workflows = [yaml.safe_load(path.read_text()) for path in WORKFLOWS]
    return [
        pytest.param(job, id=f"{path.stem}-{name}")
        for path, workflow in zip(WORKFLOWS, workflows, strict=True)
        for name, job in workflow["jobs"].items()
    ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_with_their_version(path: Path) -> None:
    lines = [line.strip() for line in path.read_text().splitlines() if re.match(r"\s*(- )?uses:", line)]
    workflow = yaml.safe_load(path.read_text())
    used = [step for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert len(lines) == len(used) > 0
    for line in lines:
        assert re.fullmatch(r"- uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_an_action_has_one_version() -> None:
    pins = {pin for path in WORKFLOWS for pin in re.findall(r"uses: (\S+@\S+ # \S+)", path.read_text())}
    actions = [pin.partition("@")[0] for pin in pins]
    assert sorted(set(actions)) == sorted(actions)


RIGHTS = {
    "release-attest": {"id-token": "write", "attestations": "write"},
    "release-publish": {"id-token": "write"},
    "release-attach": {"contents": "write"},
    "release-deploy": {"pages": "write", "id-token": "write"},
}
"""Jobs that may do more than read the repository."""


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_rights_of_its_own(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {}


@pytest.mark.parametrize("job", jobs())
def test_a_job_has_the_rights_that_it_needs(job: dict[str, Any], request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id
    assert job["permissions"] == RIGHTS.get(name, {"contents": "read"})
    assert job["timeout-minutes"] <= 90
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert "${{" not in step.get("run", "")  # the text of an event is not part of a command
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        if name in RIGHTS:  # whoever may write runs nothing of the package and of its dependencies
            assert not re.search(r"pip|python|bash", step.get("run", "")), step


def test_what_is_installed_to_build_and_to_audit_is_pinned_by_hash() -> None:
    installed = [
        step["run"]
        for path in WORKFLOWS
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        for step in job["steps"]
        if "pip install" in step.get("run", "")
    ]
    assert installed
    for command in installed:
        assert "--require-hashes -r .ci/requirements/" in command or "-c constraints.txt" in command, command
    for name in ("build", "audit"):
        text = (ROOT / ".ci" / "requirements" / f"{name}.txt").read_text()
        entries = re.split(r"\n(?=[a-z])", text)[1:]
        pinned = {re.match(r"[\w.-]+", entry)[0] for entry in entries}  # type: ignore[index]
        wanted = {
            re.split("[><=]", line)[0] for line in (ROOT / ".ci" / "requirements" / f"{name}.in").read_text().split()
        }
        assert wanted <= pinned
        assert all(re.match(r"[\w.-]+==\S+ \\\n\s+--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)


def test_a_release_is_built_in_the_pinned_environment_and_has_a_bill_of_materials() -> None:
    release = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    assert "python -m build --no-isolation" in [step.get("run") for step in release["build"]["steps"]]
    commands = " ".join(step.get("run", "") for step in release["materials"]["steps"])
    assert "cyclonedx-py environment" in commands
    signed, attested = release["attest"]["steps"]
    assert signed["with"] == {"path": "files/", "merge-multiple": True}  # the wheel, its source and the bill
    assert attested["uses"].startswith("actions/attest-build-provenance@")
    assert attested["with"] == {"subject-path": "files/*"}
    assert release["publish"]["needs"] == ["build", "materials", "attest"]
    assert [step["uses"].partition("@")[0] for step in release["publish"]["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
    assert any("gh release upload" in step.get("run", "") for step in release["attach"]["steps"])


def test_new_versions_and_known_vulnerabilities_are_looked_for() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "pip"}
    (python,) = (update for update in updates if update["package-ecosystem"] == "pip")
    for directory in python["directories"]:
        assert list((ROOT / directory.strip("/")).glob("*.txt"))
    ci = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert ci[True]["schedule"]  # YAML reads the key "on" as true
    commands = " ".join(step.get("run", "") for step in ci["jobs"]["audit"]["steps"])
    for audited in ("constraints.txt", ".ci/requirements/build.txt", ".ci/requirements/audit.txt"):
        assert re.search(rf"pip_audit .*-r {re.escape(audited)}", commands)


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
