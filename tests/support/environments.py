"""Fresh environments for tests: building distributions, installing the wheel, running commands in the environment."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("mtl_lightning", "recipes")
BESIDE = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")


def copy_sources(target: Path, *more: str) -> Path:
    """Copy the sources that a build needs, without the files of earlier builds."""
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    for name in (*SOURCES, *more):
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    for name in BESIDE:
        shutil.copy(ROOT / name, target / name)
    return target


def build(source: Path, out: Path, *kinds: str) -> list[Path]:
    """Build distributions of a source tree with the installed tools."""
    command = [sys.executable, "-m", "build", *kinds, "--no-isolation", "--outdir", out, source]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return sorted(out.iterdir())


def fresh_environment(home: Path, wheel: Path) -> Path:
    """Create an environment with the wheel and links to all installed packages but the checkout; return ``bin``."""
    venv.create(home, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    for part in Path(sysconfig.get_path("purelib")).iterdir():
        own = part.name.replace("-", "_").startswith(("mtl_lightning", "__editable__"))
        if not own and part.suffix != ".pth" and not (packages / part.name).exists():
            (packages / part.name).symlink_to(part)
    bin_ = home / "bin"
    for name, arguments in (("pip", "pip"), ("pytest", "pytest -p no:cacheprovider")):
        script = bin_ / name
        script.write_text(f'#!/bin/sh\nexec {bin_ / "python"} -m {arguments} "$@"\n')
        script.chmod(0o755)
    run(bin_, home, "pip", "install", "-q", "--no-deps", "--no-index", str(wheel))
    return bin_


def run(bin_: Path, folder: Path, *command: str) -> str:
    """Run a command with the environment's programs first and no checkout on the path; return its output."""
    plain = {key: value for key, value in os.environ.items() if key not in ("MTL_PLUGINS", "PYTHONPATH")}
    plain |= {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    plain |= {"MTL_CACHE": str(folder / "cache"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        command, cwd=folder, env=plain, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout
