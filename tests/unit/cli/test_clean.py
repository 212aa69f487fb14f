"""``data clean``: lists by default, removes with ``--yes``, and keeps what is in use or foreign."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from commands import command, run_command, start_command

from mtl_lightning.data.cache.locks import locked

OLD, NEW = "a" * 32, "b" * 32
DAY = 86_400


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with an old and a new entry of prepared rows, a small file of kinds, and a foreign file."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("MTL_CACHE", str(cache))
    contents = {f"prepared/{OLD}/summary.json": 1000, f"prepared/{NEW}/summary.json": 2000, f"kinds/{OLD}.json": 30}
    for path, count in (contents | {"prepared/notes.txt": 5}).items():
        (cache / path).parent.mkdir(parents=True, exist_ok=True)
        (cache / path).write_bytes(b"x" * count)
    for path in (f"prepared/{OLD}/summary.json", f"prepared/{OLD}"):
        os.utime(cache / path, (time.time() - 10 * DAY,) * 2)
    return cache


def files(cache: Path) -> set[str]:
    return {str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"}


def test_nothing_is_removed_without_yes(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(cache.rglob("*"))
    assert command("data", "clean") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"would remove kinds/{OLD}.json (30 bytes)",
        f"would remove prepared/{OLD} (1.0 kB)",
        f"would remove prepared/{NEW} (2.0 kB)",
        "left prepared/notes.txt: not written by mtl-lightning",
        f"3.0 kB in 3 entries of {cache}; remove them with --yes",
    ]
    assert set(cache.rglob("*")) == before


def test_yes_removes_and_keeps_foreign_files_and_what_is_in_use(cache: Path, tmp_path: Path) -> None:
    with locked(cache / "prepared" / NEW):
        done = run_command(tmp_path, "data", "clean", "--yes", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    states = {Path(row["path"]).name: row["state"] for row in record["entries"]}
    assert states == {f"{OLD}.json": "removed", OLD: "removed", NEW: "in use"}
    assert record["bytes"] == {"listed": 0, "removed": 1030, "in_use": 2000}
    assert record["others"] == [str(cache / "prepared" / "notes.txt")]
    assert files(cache) == {f"prepared/{NEW}/summary.json", "prepared/notes.txt"}


def test_kinds_and_ages_select(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("data", "clean", "--older-than", "3", "--yes") == 0
    assert files(cache) == {f"prepared/{NEW}/summary.json", f"kinds/{OLD}.json", "prepared/notes.txt"}
    assert command("data", "clean", "prepared", "-y") == 0
    assert files(cache) == {f"kinds/{OLD}.json", "prepared/notes.txt"}
    assert f"removed 2.0 kB in 1 entries of {cache}" in capsys.readouterr().out


def test_another_cache_is_named(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").mkdir()
    assert command("data", "clean", "--cache", str(tmp_path / "other"), "--yes") == 0
    assert capsys.readouterr().out == f"nothing to remove in {tmp_path / 'other'}\n"
    assert command("data", "clean", "--cache", str(tmp_path / "none")) == 2
    assert f"--cache: there is no directory {tmp_path / 'none'}" in capsys.readouterr().err


def test_an_unknown_kind_is_an_error(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("data", "clean", "prepard", "--yes") == 2
    assert "no kind is called 'prepard' (did you mean 'prepared'?)" in capsys.readouterr().err
    assert len(files(cache)) == 4


def test_what_cannot_be_removed_is_reported_with_code_1(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refuse)
    assert command("data", "clean", "--yes") == 1
    assert f"can't remove prepared/{OLD} (1.0 kB): Permission denied" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not list the files of processes")
def test_data_that_a_run_trains_on_is_kept(tmp_path: Path) -> None:
    pairs = ("recipe=ads", "source.rows=600", "trainer.accelerator=cpu", "trainer.max_epochs=100000", "run.dir=run")
    with start_command(tmp_path, "fit", *pairs, "run.patience=null", python=sys.executable) as training:
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file():
                assert training.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            done = run_command(tmp_path, "data", "clean", "--yes", "--json")
            (entry,) = json.loads(done.stdout)["entries"]
            assert (entry["kind"], entry["state"]) == ("prepared", "in use")
            assert entry["reason"] == f"in use by process {training.pid}"
            assert training.poll() is None
        finally:
            training.send_signal(signal.SIGTERM)
        training.communicate()
    assert training.returncode == 143
    done = run_command(tmp_path, "data", "clean", "--yes", "--json")
    assert [entry["state"] for entry in json.loads(done.stdout)["entries"]] == ["removed"]
    resumed = run_command(tmp_path, "fit", "resume=run", "trainer.max_steps=1", "run.test=false")
    assert resumed.returncode == 0, resumed.stderr
