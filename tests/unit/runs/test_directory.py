"""Run directories are never shared, and a wrong path is answered with a clear error."""

import threading
from pathlib import Path

import pytest

from mtl_lightning.errors import MtlError
from mtl_lightning.ranks import process_rank
from mtl_lightning.runs.directory import BEST, LAST, PREVIOUS, RunDirectory


def test_default_directories_are_distinct_even_when_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    created: list[Path] = []
    threads = [threading.Thread(target=lambda: created.append(RunDirectory.create("ads").path)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(created)) == 8
    assert {path.parent for path in created} == {Path("runs/ads")}


def test_recipe_path_names_the_parent_by_its_stem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert RunDirectory.create("配置/my ads.yaml").path.parent == Path("runs/my ads")


def test_a_directory_with_content_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(MtlError, match=r"is not empty.*resume="):
        RunDirectory.create("ads", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MtlError, match="file"):
        RunDirectory.create("ads", tmp_path / "file")


def test_opening_something_else_points_to_the_newest_run(tmp_path: Path) -> None:
    run = RunDirectory.create("ads", tmp_path / "ads" / "first")
    run.save_config("seed: 1")
    with pytest.raises(MtlError, match=r"no run directory .*newest run there is .*first"):
        RunDirectory.open(tmp_path / "ads" / "frist")
    with pytest.raises(MtlError, match="not a run directory"):
        RunDirectory.open(tmp_path / "ads")


def test_checkpoints_in_order_of_preference(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.checkpoints.mkdir()
    with pytest.raises(MtlError, match="no checkpoint yet"):
        run.weights()
    for name in (PREVIOUS, LAST, BEST):
        (run.checkpoints / name).write_bytes(b"x")
        assert run.weights().name == name
    assert run.resume_checkpoint() == run.checkpoints / LAST


def test_cleaning_removes_only_what_was_cut_off(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.checkpoints.mkdir()
    (run.checkpoints / "last.ckpt.partial").write_bytes(b"x")
    (run.checkpoints / LAST).write_bytes(b"x")
    run.clean()
    assert [path.name for path in run.checkpoints.iterdir()] == [LAST]


def test_rank_comes_from_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert process_rank() == 0
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert process_rank() == 3
    monkeypatch.setenv("RANK", "5")
    assert process_rank() == 5


def test_one_process_trains_in_a_directory(tmp_path: Path) -> None:
    first = RunDirectory.create("ads", tmp_path / "run")
    with pytest.raises(MtlError, match=r"run is in use: another process trains there.*stop it"):
        RunDirectory.create("ads", tmp_path / "run")
    first.save_config("seed: 1")
    again = RunDirectory.open(tmp_path / "run")  # reading it does no harm
    with pytest.raises(MtlError, match="in use"):
        again.hold()
    first.release()
    first.release()
    again.hold()
    again.release()


def test_of_several_that_take_a_directory_at_once_one_gets_it(tmp_path: Path) -> None:
    held: list[RunDirectory] = []
    refused: list[str] = []

    def take() -> None:
        try:
            held.append(RunDirectory.create("ads", tmp_path / "run"))
            held[-1].save_config("seed: 1")
        except MtlError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    assert len(refused) == 7
