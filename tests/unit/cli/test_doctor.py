"""``doctor`` in real processes: a working installation, and the ways in which one is broken."""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import environment_of, run_command
from warm_python import warm_python


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The document of a working installation."""
    done = run_command(tmp_path_factory.mktemp("doctor"), "doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_its_keys_are_documented(report: Any) -> None:
    page = (Path(__file__).parents[3] / "docs" / "command_line.md").read_text()
    (row,) = (line for line in page.splitlines() if line.startswith("| `doctor` | `ok`"))
    assert [key for key in report if f"`{key}`" not in row] == []


def test_a_working_installation(report: Any) -> None:
    assert (report["ok"], report["problems"]) == (True, [])
    assert report["python"]["version"] == platform.python_version()
    assert report["python"]["executable"] == warm_python()
    versions = {package["name"]: package["version"] for package in report["packages"]}
    for name in ("mtl-lightning", "torch", "lightning", "pyarrow"):
        assert versions[name] == importlib.metadata.version(name)
    assert 1 <= report["devices"]["usable_cores"] <= report["devices"]["cores"] == os.cpu_count()
    core = {"name": "core", "distribution": "mtl-lightning", "version": versions["mtl-lightning"], "failure": None}
    assert core in report["plugins"]
    assert {"export", "serve", "tune"} <= set(report["extras"])


def test_the_table_has_the_same(report: Any, tmp_path: Path) -> None:
    done = run_command(tmp_path, "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "ok"
    for package in report["packages"]:
        assert f"{package['name']} {package['version']}" in done.stdout
    assert f"{report['devices']['usable_cores']} of {report['devices']['cores']} CPU cores usable" in done.stdout


def broken(folder: Path, program: str = "", **environment: str) -> Any:
    """The document of a broken installation; the program is run first."""
    code = f"{program}\nfrom mtl_lightning.cli.app import main\nmain(['doctor', '--json'])\n"
    done = subprocess.run(
        [warm_python(), "-c", code],
        cwd=folder,
        env={**environment_of(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert not report["ok"]
    return report


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    report = broken(tmp_path, MTL_CACHE=str(tmp_path / "file" / "cache"))
    problem = {"path": str(tmp_path / "file" / "cache"), "reason": "can't be written"}
    assert report["problems"] == [problem | {"hint": "set MTL_CACHE to another directory"}]
    assert report["caches"]["data"]["writable"] is False


def test_a_broken_plugin(tmp_path: Path) -> None:
    info = tmp_path / "acme_plugin-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-plugin\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[mtl_lightning]\nacme = acme_not_there\n")
    report = broken(tmp_path, PYTHONPATH=str(tmp_path))
    reason = "ModuleNotFoundError: No module named 'acme_not_there'"
    (plugin,) = (plugin for plugin in report["plugins"] if plugin["name"] == "acme")
    assert plugin["failure"] == {"stage": "load", "reason": reason}
    assert report["problems"] == [{"path": "acme (acme-plugin 0.3)", "reason": f"load: {reason}", "hint": ""}]


def test_a_library_that_cannot_be_imported(tmp_path: Path) -> None:
    report = broken(tmp_path, "import sys\nsys.modules['torch'] = None")
    assert report["problems"][0]["path"] == "torch"
    assert report["problems"][0]["reason"].startswith("can't be imported: ModuleNotFoundError")
    assert report["devices"]["gpus"] == []
