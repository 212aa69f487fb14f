"""Inspection for ``doctor``: versions, devices, caches, plugins and extras, as plain containers."""

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from mtl_lightning.data.cache.directory import cache_directory
from mtl_lightning.data.cache.inventory import LAYOUTS, entries
from mtl_lightning.errors import Problem
from mtl_lightning.plugins import registry

DISTRIBUTION = "mtl-lightning"
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Limit of CPU time in a container: microseconds of CPU time per period, and the period."""


def inspect_environment() -> dict[str, Any]:
    """Inspect the installation and the machine.

    Returns:
        ``ok``, ``problems``, ``python``, ``packages``, ``devices``, ``caches``, ``plugins``, ``left_out`` and
        ``extras``.
    """
    problems: list[Problem] = []
    content = {
        "python": inspect_python(),
        "packages": inspect_packages(problems),
        "devices": inspect_devices(problems),
        "caches": inspect_caches(problems),
        **inspect_plugins(problems),
        "extras": inspect_extras(),
    }
    return {"ok": not problems, "problems": [asdict(problem) for problem in problems], **content}


def inspect_python() -> dict[str, str]:
    """Version, implementation and path of the interpreter, and the operating system."""
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": sys.executable,
        "platform": platform.platform(),
    }


def requirements() -> list[Requirement]:
    """Requirements of this package and of its extras, as it was installed."""
    return [Requirement(text) for text in importlib.metadata.requires(DISTRIBUTION) or []]


def applies(requirement: Requirement, extra: str = "") -> bool:
    """True if a requirement is one of this interpreter and system, with an extra or without.

    Example:
        >>> requirement = Requirement("onnx>=1; extra == 'export'")
        >>> applies(requirement), applies(requirement, "export")
        (False, True)
    """
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def state_of(requirement: Requirement) -> dict[str, Any]:
    """Name, required versions, and installed version of a requirement (None if missing).

    Example:
        >>> state_of(Requirement("no-such-package>=2"))
        {'name': 'no-such-package', 'required': '>=2', 'version': None, 'ok': False}
    """
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        version = None
    fits = version is not None and requirement.specifier.contains(version, prereleases=True)
    return {"name": requirement.name, "required": str(requirement.specifier), "version": version, "ok": fits}


def inspect_packages(problems: list[Problem]) -> list[dict[str, Any]]:
    """Versions of this package and of what it requires without extras.

    Args:
        problems: Missing packages and wrong versions are added.
    """
    own = {"name": DISTRIBUTION, "required": "", "version": importlib.metadata.version(DISTRIBUTION), "ok": True}
    packages = [own, *(state_of(requirement) for requirement in requirements() if applies(requirement))]
    for package in packages:
        if not package["ok"]:
            wanted = f"{package['name']}{package['required']}"
            reason = (
                f"is version {package['version']}, not {package['required']}" if package["version"] else "is missing"
            )
            problems.append(Problem(package["name"], reason, f"pip install '{wanted}'"))
    return packages


def inspect_devices(problems: list[Problem]) -> dict[str, Any]:
    """CPU cores, threads and GPUs; the GPUs are tried.

    Args:
        problems: A torch or lightning that can't be imported and GPUs that can't be used are added.

    Returns:
        ``cores`` of the machine, ``usable_cores`` by this process, ``cpu_quota`` of its container in cores (None
        without a limit), ``threads`` of torch, ``cuda`` version of torch, ``mps``, and ``gpus``.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices: dict[str, Any] = {"cores": os.cpu_count(), "usable_cores": usable, "cpu_quota": cpu_quota()}
    devices |= {"threads": None, "cuda": None, "mps": False, "gpus": []}
    for name in ("torch", "lightning.pytorch"):
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 a broken library may raise anything, which is reported
            reason = " ".join(f"can't be imported: {type(error).__name__}: {error}".split())
            problems.append(Problem(name, reason, "install it again"))
            return devices
    import torch

    devices |= {
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "mps": torch.backends.mps.is_available(),
    }
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(number)
        gpu = {"name": properties.name, "bytes": properties.total_memory, "ok": True}
        try:
            torch.ones(2, 2, device=f"cuda:{number}").mm(torch.ones(2, 2, device=f"cuda:{number}")).cpu()
        except RuntimeError as error:
            gpu["ok"] = False
            reason = f"can't compute: {str(error).splitlines()[0]}"
            problems.append(Problem(f"cuda:{number}", reason, "set trainer.accelerator=cpu, or install another torch"))
        devices["gpus"].append(gpu)
    return devices


def cpu_quota() -> float | None:
    """Cores that the container of this process may use; None without a limit.

    Example:
        >>> cpu_quota() is None or cpu_quota() > 0
        True
    """
    try:
        quota, period = QUOTA.read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # no container, or the first version of control groups
        return None
    return None if quota == "max" else int(quota) / int(period)


def inspect_caches(problems: list[Problem]) -> dict[str, Any]:
    """Directories of caches and their sizes in bytes.

    Args:
        problems: A cache that can't be read or written is added.

    Returns:
        ``data``: the cache of this package, with the entries and bytes of each kind. ``datasets``: the cache of the
        library datasets.
    """
    directory = cache_directory()
    kinds = {kind: {"entries": 0, "bytes": 0} for kind in LAYOUTS}
    data: dict[str, Any] = {"directory": str(directory), "exists": directory.is_dir(), "kinds": kinds, "others": 0}
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    data["writable"] = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    if not data["writable"]:
        problems.append(Problem(str(directory), "can't be written", "set MTL_CACHE to another directory"))
    try:
        own, others = entries(directory)
        data["free_bytes"] = shutil.disk_usage(existing).free
    except OSError as error:
        own, others = [], []
        problems.append(Problem(str(directory), f"can't be read: {error.strerror}", "set MTL_CACHE"))
    for entry in own:
        kinds[entry.kind]["entries"] += 1
        kinds[entry.kind]["bytes"] += entry.bytes
    data |= {"others": len(others), "bytes": sum(entry.bytes for entry in own)}
    return {"data": data, "datasets": _datasets_cache()}


def _datasets_cache() -> dict[str, Any]:
    """Cache of the library datasets, from the variables that it reads, without importing it."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    directory = Path(os.environ.get("HF_DATASETS_CACHE") or Path(home, "datasets")).expanduser()
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return {"directory": str(directory), "exists": directory.is_dir(), "bytes": sum(f.lstat().st_size for f in files)}


def inspect_plugins(problems: list[Problem]) -> dict[str, Any]:
    """Plugins, loaded and broken. All of their components are imported.

    Args:
        problems: Broken plugins and components are added.

    Returns:
        ``plugins`` with ``failure`` (None, or its stage and reason), and ``left_out`` by ``MTL_PLUGINS``.
    """
    names = registry()
    problems += names.check()
    rows = []
    for plugin in names.plugins:
        failure = plugin.failure and {"stage": plugin.failure.stage, "reason": plugin.failure.reason}
        row = {"name": plugin.name, "distribution": plugin.distribution, "version": plugin.version, "failure": failure}
        rows.append(row)
    return {"plugins": rows, "left_out": list(names.left_out)}


def inspect_extras() -> dict[str, dict[str, Any]]:
    """For each extra of this package: whether it is installed, what is missing, and the command that installs it."""
    extras = importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    result = {}
    for extra in extras:
        states = [state_of(requirement) for requirement in sorted(_of_extra(extra), key=str)]
        missing = [f"{state['name']}{state['required']}" for state in states if not state["ok"]]
        command = f"pip install '{DISTRIBUTION}[{extra}]'"
        result[extra] = {"ok": not missing, "missing": missing, "install": command if missing else None}
    return result


def _of_extra(extra: str) -> set[Requirement]:
    """Requirements of an extra, and of the extras of this package that it includes."""
    own: set[Requirement] = set()
    for requirement in requirements():
        if applies(requirement, extra) and not applies(requirement):
            if re.sub(r"[-_.]+", "-", requirement.name).lower() == DISTRIBUTION:
                for included in requirement.extras - {extra}:
                    own |= _of_extra(included)
            else:
                own.add(requirement)
    return own
