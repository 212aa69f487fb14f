"""A run that is killed and resumed ends as one that was not: bit for bit."""

import random
import sys
from pathlib import Path
from typing import Any

from final_state import final, same


def test_killed_five_times_and_once_while_writing(tmp_path: Path, cli: Any, small: Any) -> None:
    # FAMO has a state and looks at the losses after an update; dropout draws random numbers. The first run prepares
    # the data, the others find it prepared: that must not show either.
    settings = [*small, "weighter=famo", "architecture.dropout=0.1", "data.cache_dir=cache"]
    whole = cli("fit", *settings, "run.dir=whole", python=sys.executable)  # with another seed of hash
    assert whole.returncode == 0, whole.stderr
    steps = sorted(random.Random(5).sample(range(14), 5))
    faults = [f"{'kill-writing' if i in (2, 3) else 'kill'}@{step}" for i, step in enumerate(steps)]
    killed = cli("fit", *settings, "run.dir=killed", MTL_FAULT=faults[0])
    assert killed.returncode == -9, killed.stderr
    for i, fault in enumerate(faults[1:], 1):
        background = f"run.checkpoint_in_background={'true' if i > 2 else 'false'}"
        assert cli("fit", "resume=killed", background, MTL_FAULT=fault).returncode == -9
    finished = cli("fit", "resume=killed")
    assert finished.returncode == 0, finished.stderr
    assert same(final(tmp_path / "killed"), final(tmp_path / "whole"))
    assert not list((tmp_path / "killed").rglob("*.partial"))


def test_a_run_with_averaged_weights_that_is_killed_ends_with_the_same_averages(
    tmp_path: Path, cli: Any, small: Any
) -> None:
    settings = [*small, "optimizer.average=0.9", "trainer.val_check_interval=9", "data.cache_dir=cache"]
    whole = cli("fit", *settings, "run.dir=whole")
    assert whole.returncode == 0, whole.stderr
    assert cli("fit", *settings, "run.dir=killed", MTL_FAULT="kill@4").returncode == -9
    assert cli("fit", "resume=killed", MTL_FAULT="kill@9").returncode == -9
    finished = cli("fit", "resume=killed")
    assert finished.returncode == 0, finished.stderr
    expected = final(tmp_path / "whole")
    assert same(final(tmp_path / "killed"), expected)
    for name, weight in expected["trained"]["weights"].items():
        assert not same(weight, expected["weights"][name]), name
