"""The template plugin, installed as its users install it, into an environment of its own: listed, trained, tested."""

import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[3] / "plugins" / "mtl-lightning-template"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the template, on top of the packages of this one."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    parents = {sysconfig.get_path("purelib"), *site.getsitepackages()}
    # addsitedir and not the bare path: this package may itself be installed by a .pth file.
    lines = [f"import site; site.addsitedir({parent!r})" for parent in sorted(parents)]
    (packages / "parent.pth").write_text("\n".join(lines) + "\n")
    source = home / "source"
    shutil.copytree(TEMPLATE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    command = ["-m", "pip", "--python", python, "install", "--no-deps", "--no-build-isolation", "--no-index", source]
    subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True)
    return python


def run(python: Path, folder: Path, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in ("MTL_PLUGINS", "PYTHONPATH")}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [python, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_listed(python: Path, tmp_path: Path) -> None:
    record = json.loads(run(python, tmp_path, "-m", "mtl_lightning", "plugins", "--json"))
    plugins = {plugin["distribution"]: plugin for plugin in record["plugins"]}
    assert plugins["mtl-lightning-template"]["failure"] is None
    assert plugins["mtl-lightning-template"]["version"] == "0.1.0"
    assert "cov" in [entry["name"] for entry in record["names"]["weighter"]]
    assert "ads_cov" in [entry["name"] for entry in record["names"]["recipe"]]


def test_its_recipe_trains_with_its_weighter(python: Path, tmp_path: Path) -> None:
    arguments = ["recipe=ads_cov", "source.rows=6000", "trainer.max_epochs=1", "data.batch_size=512"]
    run(python, tmp_path, "-m", "mtl_lightning", "fit", *arguments, "trainer.accelerator=cpu")
    (config,) = tmp_path.glob("runs/ads_cov/*/config.yaml")
    assert "name: cov" in config.read_text()
    assert json.loads((config.parent / "plugins.json").read_text())["mtl-lightning-template"] == "0.1.0"
    assert (config.parent / "checkpoints" / "last.ckpt").is_file()


def test_it_keeps_the_contract(python: Path, tmp_path: Path) -> None:
    folder = python.parents[1] / "source"
    assert "passed" in run(python, folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
