"""Exports for Triton and KServe through the command."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from commands import command

from mtl_lightning.export.bundle import Bundle

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them

PARSE = """
import json, sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

config = text_format.Parse(open(sys.argv[1]).read(), model_config_pb2.ModelConfig())
print(json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True)))
"""


@pytest.fixture(scope="module")
def model(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("repository") / "ads"
    assert command("export", f"run={run}", f"out={out}", "calibrate=false", "layout=triton") == 0
    return out


def test_a_model_of_a_repository_is_an_export_with_a_configuration(model: Path) -> None:
    assert {path.name for path in model.iterdir()} == {"config.pbtxt", "1"}
    bundle = Bundle.open(model / "1")
    text = (model / "config.pbtxt").read_text()
    assert text.count("input {") == len(bundle.manifest.inputs)
    assert text.count("output {") == len(bundle.manifest.outputs)
    assert 'name: "prediction/click"' in text


@pytest.mark.slow
def test_tritons_protobuf_reads_the_configuration(model: Path, triton: Path) -> None:
    done = subprocess.run([triton, "-c", PARSE, model / "config.pbtxt"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    manifest = Bundle.open(model / "1").manifest
    assert (config["name"], config["platform"], config["max_batch_size"]) == ("ads", "onnxruntime_onnx", 2000)
    assert "dynamic_batching" in config
    kinds = {"int64": "TYPE_INT64", "float32": "TYPE_FP32", "float64": "TYPE_FP64"}
    for item, tensor in zip(manifest.inputs, config["input"], strict=True):
        sizes = [] if "reshape" in tensor else [int(size) for size in tensor["dims"]]
        assert (tensor["name"], tensor["data_type"]) == (item["name"], kinds[item["dtype"]])
        assert [None, *sizes] == item["shape"]
    for item, tensor in zip(manifest.outputs.values(), config["output"], strict=True):
        assert (tensor["name"], tensor["dims"], tensor["reshape"]) == (item["name"], ["1"], {})


@pytest.mark.slow
def test_an_export_for_kserve_has_a_manifest(run: Path, tmp_path: Path) -> None:
    pairs = [f"run={run}", "calibrate=false", "layout=kserve", "storage=s3://models/ads"]
    assert command("export", *pairs, f"out={tmp_path / 'ads'}") == 0
    assert yaml.safe_load((tmp_path / "ads" / "kserve.yaml").read_text())["metadata"]["name"] == "ads"
    assert "kserve.yaml" in Bundle.open(tmp_path / "ads").manifest.files


def test_what_kserve_does_not_take_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [f"run={run}", "calibrate=false", "layout=kserve"]
    assert command("export", *pairs, f"out={tmp_path / 'x'}") == 2
    assert "belong together" in capsys.readouterr().err
    assert command("export", *pairs, f"out={tmp_path / 'X'}", "storage=s3://models/ads") == 2
    assert "lower-case letters" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
