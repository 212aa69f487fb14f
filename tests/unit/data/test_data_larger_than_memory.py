"""The benchmark of a log that doesn't fit, in its short form."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "benchmarks" / "larger_than_memory.py"


@pytest.fixture(scope="module")
def benchmark_module():
    spec = importlib.util.spec_from_file_location("larger_than_memory", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_process_above_its_limit_is_killed(benchmark_module):
    hungry = [sys.executable, "-c", "x = bytearray(300 << 20)\nimport time\ntime.sleep(30)"]
    with pytest.raises(SystemExit, match="the limit is 100"):
        benchmark_module.limited(hungry, 100, {})
    modest = benchmark_module.limited([sys.executable, "-c", "print('done')"], 100, {})
    assert modest["text"] == "done\n"


@pytest.mark.slow
def test_memory_is_flat_over_training(benchmark_module, tmp_path):
    measured = benchmark_module.run(400_000, 2048, 1024, tmp_path, pool=32_768, batch=4096, minutes=0)
    peaks = measured["train"]["peaks"]
    assert measured["prepare"]["rows"]["train"] == 320_000
    # The last tenth is the evaluation.
    assert max(peaks[2:]) < peaks[1] + 64
    assert measured["train"]["click_expected_auc"] > 0.55
