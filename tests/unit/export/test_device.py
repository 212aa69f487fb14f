"""Devices of predictions: which one a text means, and what is reported where it cannot be used."""

from pathlib import Path

import pytest
import torch

from mtl_lightning.cli.predict import predict
from mtl_lightning.errors import MtlError
from mtl_lightning.export.device import check_gpu, providers, read_device


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA", "", "cuda:٣"])
def test_an_unknown_device_is_refused_with_those_that_exist(text: str) -> None:
    with pytest.raises(MtlError, match=r"device: .* is unknown") as error:
        read_device(text)
    assert "choose cpu, cuda" in str(error.value)


def test_a_gpu_needs_an_onnxruntime_that_can_use_it() -> None:
    assert providers("cuda:2", ["CPUExecutionProvider", "CUDAExecutionProvider"]) == [
        ("CUDAExecutionProvider", {"device_id": 2}),
        "CPUExecutionProvider",
    ]
    with pytest.raises(MtlError, match="onnxruntime can't use cuda"):
        providers("cuda", ["CPUExecutionProvider"])


def test_a_gpu_that_torch_does_not_see_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_gpu(1)
    with pytest.raises(MtlError, match="no GPU 2; torch can use 2"):
        check_gpu(2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_predict_reports_a_missing_gpu_before_it_reads_rows(tmp_path: Path) -> None:
    from mtl_lightning.cli.fit import fit

    fit(["recipe=ads", f"run.dir={tmp_path / 'run'}", "source.rows=1000", "trainer.max_epochs=1"])
    with pytest.raises(MtlError, match="device: there is no GPU 0"):
        predict([f"run={tmp_path / 'run'}", f"out={tmp_path / 'scores.parquet'}", "device=cuda"])
    assert predict([f"run={tmp_path / 'run'}", f"out={tmp_path / 'scores.parquet'}", "device=cpu"])["rows"] == 100
