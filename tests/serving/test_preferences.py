"""One run for all trade-offs: a request, an export and ``predict`` choose the preferences of tasks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from commands import command
from sklearn.metrics import roc_auc_score

from mtl_lightning.build import build_data, module_from_config
from mtl_lightning.config import compose, validate
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.errors import ConfigError, MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.predictions import Predictor
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.resumption import load_weights
from mtl_lightning.serve.answer import answer
from mtl_lightning.serve.open_inference import describe_model, infer
from mtl_lightning.serve.openapi import operation
from mtl_lightning.serve.request import RequestError

pytestmark = [
    pytest.mark.xdist_group("preferences"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # numpy on tensors
]

FEATURE = "features.preference={kind: preference, tasks: [dwell, click, conversion]}"
SMALL = ["source.rows=1500", "data.batch_size=256", "architecture.experts=2", "weighter=cosmos", FEATURE]
CHOSEN = [0.1, 0.7, 0.2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preferences")
    records = ["run.evaluation=true", "run.keep_rows=true", f"data.cache_dir={folder / 'cache'}"]
    pairs = ["recipe=ads", *SMALL, "trainer.max_epochs=1", *records]
    assert command("fit", *pairs, f"run.dir={folder / 'run'}") == 0
    assert command("export", f"run={folder / 'run'}", f"out={folder / 'export'}", "calibrate=false") == 0
    return folder / "run"


@pytest.fixture(scope="module")
def bundle(run: Path) -> Bundle:
    return Bundle.open(run.parent / "export")


@pytest.fixture(scope="module")
def rows(log: Path, bundle: Bundle) -> list[dict[str, Any]]:
    return pq.read_table(log, columns=list(bundle.manifest.columns)).slice(0, 4).to_pylist()


def in_torch(run: Path, rows: list[dict[str, Any]], preference: Any) -> dict[str, np.ndarray]:
    """Predictions of the network that was trained, with these preferences in the order of the schema's tasks."""
    directory = RunDirectory.open(run)
    config = validate(yaml.safe_load(directory.config_file.read_text()))
    predictor = Predictor.of_run(directory, config)
    batch = predictor.transforms.encode(rows)
    module = module_from_config(config, batch.schema)
    load_weights(module, directory.weights())
    with torch.inference_mode():
        return {name: value.numpy() for name, value in module.eval()(batch.preferring(preference)).items()}


def scored(bundle: Bundle, **body: Any) -> dict[str, Any]:
    content, _ = answer(bundle, json.dumps(body).encode(), 10)
    return json.loads(content)["predictions"]


def test_a_run_is_measured_along_preferences(run: Path) -> None:
    record = json.loads((run / "metrics.json").read_text())
    evaluation, rows = record["evaluation"], dict(np.load(run / "test.npz"))
    facts = evaluation["preferences"]["test"]
    assert list(evaluation["preferences"]) == ["validation", "test"]
    assert (facts["rows"], facts["of"]) == (len(rows["front/rows"]), len(rows["group"]))
    for i, point in enumerate(facts["points"]):
        for task, share in point["preference"].items():
            assert share == rows[f"front/preference/{task}"][i]
        known = rows["known/click"][rows["front/rows"]]
        label, prediction = rows["label/click"][rows["front/rows"], 0], rows["front/prediction/click"][i]
        expected = roc_auc_score(label[known], prediction[known])
        assert point["metrics"]["click/auc"] == pytest.approx(expected, abs=2e-3)  # of a histogram
    last, even = facts["points"][-1], record["test"]["metrics"]
    assert set(last["preference"].values()) == {1 / 3}
    assert last["metrics"]["click/auc"] == pytest.approx(even["test/click/auc"], rel=1e-5)
    np.testing.assert_allclose(rows["front/prediction/dwell"][-1], rows["prediction/dwell"], rtol=1e-4)
    assert np.ptp(rows["front/prediction/dwell"], axis=0).max() > 0
    html = (run / "report.html").read_text()
    assert "Trade-offs along preferences" in html
    assert html.count("<title>click 0.25, conversion 0.75, dwell 0</title>") == 3 * 2  # pairs of tasks, splits


def test_requests_choose(run: Path, bundle: Bundle, rows: list[dict[str, Any]]) -> None:
    assert "vector/preference" in bundle.inputs
    even = scored(bundle, candidates=rows)
    chosen = scored(bundle, candidates=rows, context={"preference": [1, 7, 2]})  # divided by their sum
    several = scored(bundle, candidates=[{**row, "preference": CHOSEN if i else None} for i, row in enumerate(rows)])
    expected = in_torch(run, rows, torch.tensor([0.7, 0.2, 0.1]))
    for task, values in in_torch(run, rows, torch.full((3,), 1 / 3)).items():
        np.testing.assert_allclose(even[task], values, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(chosen[task], expected[task], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(several[task], [even[task][0], *chosen[task][1:]], rtol=1e-5, atol=1e-6)
        assert not np.allclose(even[task], chosen[task], rtol=1e-3)
    for wrong, reason in (([1, 2], "2 values where 3"), ([1, -1, 1], "negative"), ("x", "'preference'")):
        with pytest.raises(RequestError, match=reason):
            scored(bundle, candidates=rows, context={"preference": wrong})
    with pytest.raises(RequestError, match=r"candidates\[0\] has no column 'preference': write null"):
        scored(bundle, candidates=[rows[0], {**rows[1], "preference": CHOSEN}])
    with pytest.raises(RequestError, match=r"candidates\[0\] has no column 'preference': write null"):
        scored(bundle, candidates=[rows[0], {**rows[1], "preference": CHOSEN}], context={"preference": CHOSEN})


def test_the_open_inference_protocol_has_it_as_an_input(bundle: Bundle, rows: list[dict[str, Any]]) -> None:
    def tensor(name: str, values: list[Any]) -> dict[str, Any]:
        text = isinstance(values[0], str | list)
        data = [json.dumps(value) if isinstance(value, list) else value for value in values]
        kind = "BYTES" if text else "FP64" if isinstance(values[0], float) else "INT64"
        return {"name": name, "shape": [len(values)], "datatype": kind, "data": data}

    preference = {"name": "preference", "shape": [1, 3], "datatype": "FP64", "data": CHOSEN}
    inputs = [tensor(name, [row[name] for row in rows]) for name in rows[0] if name != "history"]
    history = [",".join(map(str, row["history"])) for row in rows]
    inputs += [{"name": "history", "shape": [4], "datatype": "BYTES", "data": history}, preference]
    content, _ = infer(bundle, json.dumps({"inputs": inputs}).encode(), 10, "ads", None)
    outputs = {item["name"]: item["data"] for item in json.loads(content.body)["outputs"]}
    expected = scored(bundle, candidates=rows, context={"preference": CHOSEN})
    for task, values in expected.items():
        np.testing.assert_allclose(outputs[f"prediction/{task}"], values, rtol=1e-5, atol=1e-6)
    assert {"name": "preference", "datatype": "FP64", "shape": [-1, 3]} in describe_model(bundle, "ads")["inputs"]
    assert "preference" in json.dumps(operation(bundle, 10))


def test_predict_chooses_for_all_rows(run: Path, bundle: Bundle, log: Path, rows: list[Any], tmp_path: Path) -> None:
    expected = scored(bundle, candidates=rows, context={"preference": CHOSEN})
    for model in (run, run.parent / "export"):
        out = tmp_path / f"{model.name}.parquet"
        assert command("predict", f"run={model}", f"data={log}", f"out={out}", "preference=[0.1,0.7,0.2]") == 0
        table = pq.read_table(out)
        for task, values in expected.items():
            np.testing.assert_allclose(table[task].to_numpy()[:4], values, rtol=1e-4, atol=1e-5)


def test_a_registered_model_keeps_the_preferences_of_rows(bundle: Bundle, run: Path, rows: list[Any]) -> None:
    pytest.importorskip("mlflow")
    from mtl_lightning.predictions.mlflow_model import MlflowModel, signature

    column = signature(bundle).inputs.input_dict()["preference"]  # MLflow drops columns that it does not find there
    assert not column.required
    expected = scored(bundle, candidates=rows, context={"preference": CHOSEN})
    predictions = MlflowModel(run.parent / "export").predict(
        pd.DataFrame([{**row, "preference": CHOSEN} for row in rows])
    )
    for task, values in expected.items():
        np.testing.assert_allclose(predictions[task], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "reason"), [("x", "a number per task"), ("[1,2]", "per task"), ("[1,nan,1]", "per task")]
)
def test_wrong_preferences(
    given: str, reason: str, run: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [f"run={run}", f"data={log}", f"out={tmp_path / 'x.parquet'}", f"preference={given}"]
    assert command("predict", *pairs) == 2
    assert reason in capsys.readouterr().err


def test_a_model_without_preferences_says_so() -> None:
    predictor = Predictor(Transforms(build_features({"user": "categorical"}), ()), lambda _: {}, identity="")
    with pytest.raises(MtlError, match="reads no preferences"):
        predictor.prefer([0.5, 0.5])


def test_recipes_are_checked() -> None:
    with pytest.raises(ConfigError, match="cosmos needs a feature of kind preference"):
        validate(compose("ads", ["weighter=cosmos"]).plain)
    with pytest.raises(ConfigError, match=r"features\.preference\.tasks: are click, buy"):
        validate(compose("ads", ["features.preference={kind: preference, tasks: [click, buy]}"]).plain)


def test_a_resumed_run_draws_the_same_preferences(tmp_path: Path) -> None:
    config = validate(compose("ads", [*SMALL, f"data.cache_dir={tmp_path}"]).plain)
    data = build_data(config)
    data.prepare()
    seen: dict[int, torch.Tensor] = {}
    module: Any = module_from_config(config, data.schema)

    def look(_: Any, inputs: Any) -> None:
        seen[module.batches] = inputs[0].vectors["preference"]

    module.network.encoder.register_forward_pre_hook(look)
    batch = next(iter(data.train_dataloader()))
    for index in range(6):
        module.training_step(batch, 0)
        assert torch.equal(seen[index], module.weighter.drawn.float()[[2, 0, 1]].expand(len(batch), 3))
    # A resumed run starts with the number of the batch, and with nothing else.
    again: Any = module_from_config(config, data.schema)
    again.batches = 4
    again.training_step(batch, 0)
    assert torch.equal(again.weighter.drawn.float()[[2, 0, 1]], seen[4][0])
    assert len({tuple(values[0].tolist()) for values in seen.values()}) == 6
