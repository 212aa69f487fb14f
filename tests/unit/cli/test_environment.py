"""Inspection of requirements, extras, devices and caches."""

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest

from mtl_lightning.cli import environment
from mtl_lightning.errors import Problem

REQUIRES = [
    "torch>=2.6",
    "pyarrow>=16; python_version >= '3'",
    "old; python_version < '3'",
    "onnx>=1.17; extra == 'export'",
    "mtl-lightning[export]; extra == 'serve'",
    "uvicorn>=0.30; extra == 'serve'",
    "winloop; sys_platform == 'nowhere' and extra == 'serve'",
]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions of installed packages, to be changed by a test."""
    versions = {"mtl-lightning": "0.1.0", "torch": "2.6.0+cpu", "pyarrow": "16.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "requires", lambda _: REQUIRES)
    monkeypatch.setattr(importlib.metadata, "version", version)
    return versions


def test_requirements_without_extras(installed: dict[str, str]) -> None:
    problems: list[Problem] = []
    names = [package["name"] for package in environment.inspect_packages(problems)]
    assert (names, problems) == (["mtl-lightning", "torch", "pyarrow"], [])
    installed["torch"] = "2.5.1"
    del installed["pyarrow"]
    environment.inspect_packages(problems)
    assert problems == [
        Problem("torch", "is version 2.5.1, not >=2.6", "pip install 'torch>=2.6'"),
        Problem("pyarrow", "is missing", "pip install 'pyarrow>=16'"),
    ]


def test_extras_name_what_is_missing_and_the_command(installed: dict[str, str]) -> None:
    export, serve = (environment.inspect_extras()[extra] for extra in ("export", "serve"))
    assert export == {"ok": False, "missing": ["onnx>=1.17"], "install": "pip install 'mtl-lightning[export]'"}
    assert serve["missing"] == ["onnx>=1.17", "uvicorn>=0.30"]
    installed |= {"onnx": "1.17.0", "uvicorn": "0.29"}
    export, serve = (environment.inspect_extras()[extra] for extra in ("export", "serve"))
    assert export == {"ok": True, "missing": [], "install": None}
    assert serve == {"ok": False, "missing": ["uvicorn>=0.30"], "install": "pip install 'mtl-lightning[serve]'"}


@pytest.mark.parametrize(("text", "expected"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("odd", None)])
def test_the_quota_of_a_container(
    text: str, expected: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(environment, "QUOTA", tmp_path / "cpu.max")
    assert environment.cpu_quota() == expected


class Properties:
    name = "GPU"
    total_memory = 80 * 10**9


def test_a_gpu_that_does_not_compute_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no kernel image is available\nmore")

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: Properties)
    monkeypatch.setattr("torch.ones", fail)
    problems: list[Problem] = []
    devices = environment.inspect_devices(problems)
    assert devices["gpus"] == [{"name": "GPU", "bytes": 80 * 10**9, "ok": False}]
    assert (problems[0].path, problems[0].reason) == ("cuda:0", "can't compute: no kernel image is available")


def test_sizes_of_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"cache/kinds/{32 * 'a'}.json": 30, f"cache/tables/{32 * 'b'}/00000.parquet": 4000, "cache/mine": 7}
    for path, count in (files | {"hf/squad/data.arrow": 500}).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x" * count)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    problems: list[Problem] = []
    caches = environment.inspect_caches(problems)
    assert (caches["data"]["bytes"], caches["data"]["others"], problems) == (4030, 1, [])
    assert caches["data"]["kinds"]["tables"] == {"entries": 1, "bytes": 4000}
    assert caches["datasets"] == {"directory": str(tmp_path / "hf"), "exists": True, "bytes": 500}
