"""The page on warm starts: its commands run as they stand, on small logs."""

import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mtl_lightning.cli.app import main
from mtl_lightning.data.sources.simulator import Simulator

PAGE = Path(__file__).parents[2] / "docs" / "data" / "day_after_day.md"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line)[3:] for line in lines]


def test_commands_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    log = Simulator(rows=3000, users=200, items=100, days=2).rows().with_format("arrow")[:]
    pq.write_table(log.slice(0, 2000), "monday.parquet")
    pq.write_table(log.slice(2000), "tuesday.parquet")
    pq.write_table(log.drop_columns(["position", "click", "conversion", "dwell"]), "rows-without-position.parquet")
    assert len(commands()) == 4
    for command in commands():
        small = ["trainer.max_epochs=1", "trainer.accelerator=cpu"] if command[0] == "fit" else []
        small += ["source.rows=3000"] if command[1] == "recipe=ads" and "source=table" not in command else []
        with pytest.raises(SystemExit) as end:
            main([*command, *small])
        assert not end.value.code, capsys.readouterr().err
    predicted = pq.read_table("predictions.parquet")
    assert predicted.num_rows == 3000
    assert all(0 < item < 1 for item in predicted["click"].to_pylist())
