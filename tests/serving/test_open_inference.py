"""The Open Inference Protocol: same scores as the native route, in JSON and in bytes, and the same care with errors."""

import json
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from server import Server

from mtl_lightning.export.bundle import Bundle
from mtl_lightning.serve.app import Service
from mtl_lightning.serve.limits import Limits
from mtl_lightning.serve.live_export import LiveExport
from mtl_lightning.serve.request import RequestError
from mtl_lightning.serve.tensors import DTYPES, read_tensor

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them

INFER = "/v2/models/ads/infer"
HEADER = "Inference-Header-Content-Length"
NUMBERS = ("user_age", "user_activity", "price", "bid")
LISTS = ("history",)


@pytest.fixture(scope="module")
def client(export: Path) -> Iterator[httpx.Client]:
    service = Service(LiveExport(export), Limits(max_rows=50, max_body=200_000, reload_every=0), name="ads")
    with TestClient(service.app) as client:
        yield client


@pytest.fixture(scope="module")
def rows(export: Path, log: Path) -> list[dict[str, Any]]:
    columns = list(Bundle.open(export).manifest.columns)
    return pq.read_table(log, columns=columns).slice(0, 40).to_pylist()


def text(value: Any) -> str:
    return "" if value is None else json.dumps(value) if isinstance(value, list) else str(value)


def tensors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Inputs in JSON: numbers as FP64, everything else as text."""
    inputs = []
    for name in rows[0]:
        values = [row[name] for row in rows]
        kind = "FP64" if name in NUMBERS else "BYTES"
        data = values if kind == "FP64" else [text(value) for value in values]
        inputs.append({"name": name, "shape": [len(rows)], "datatype": kind, "data": data})
    return inputs


def as_bytes(item: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """A tensor of JSON in its binary form."""
    if item["datatype"] == "BYTES":
        parts = [value.encode() for value in item["data"]]
        raw = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    else:
        raw = np.array([np.nan if v is None else v for v in item["data"]], DTYPES[item["datatype"]]).tobytes()
    return {**{k: v for k, v in item.items() if k != "data"}, "parameters": {"binary_data_size": len(raw)}}, raw


def post_bytes(client: httpx.Client, inputs: list[dict[str, Any]], **more: Any) -> httpx.Response:
    pairs = [as_bytes(item) for item in inputs]
    head = json.dumps({"inputs": [item for item, _ in pairs], **more}).encode()
    return client.post(INFER, content=head + b"".join(raw for _, raw in pairs), headers={HEADER: str(len(head))})


def arrays(response: httpx.Response) -> dict[str, np.ndarray]:
    """Outputs of an answer in either form."""
    assert response.status_code == 200, response.text
    size = int(response.headers.get(HEADER, len(response.content)))
    head, tail = json.loads(response.content[:size]), response.content[size:]
    result = {}
    for item in head["outputs"]:
        if "data" in item:
            values = np.array(item["data"], DTYPES[item["datatype"]])
        else:
            length = item["parameters"]["binary_data_size"]
            values, tail = np.frombuffer(tail[:length], DTYPES[item["datatype"]]), tail[length:]
        result[item["name"]] = values.reshape(item["shape"])
    assert not tail
    return result


def native(client: httpx.Client, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    answer = client.post("/score", json={"candidates": rows}).json()
    predictions = {f"prediction/{task}": np.array(values, np.float32) for task, values in answer["predictions"].items()}
    return {**predictions, "score": np.array(answer["score"])}


def test_scores_are_those_of_the_native_route(client: httpx.Client, rows: list[dict[str, Any]]) -> None:
    assert any(None in row.values() for row in rows)
    expected = native(client, rows)
    inputs = tensors(rows)
    integers = [
        {**item, "datatype": "INT64", "data": [row["user_id"] for row in rows]} if item["name"] == "user_id" else item
        for item in inputs
    ]
    answers = [
        client.post(INFER, json={"inputs": inputs}),
        client.post(INFER, json={"inputs": integers, "parameters": {"binary_data_output": True}}),
        post_bytes(client, integers),
        post_bytes(client, inputs, parameters={"binary_data_output": True}),
    ]
    for answer in answers:
        result = arrays(answer)
        assert set(result) == set(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(result[name], values)
            assert result[name].shape == (len(rows),)


def test_one_row_of_an_input_is_used_for_all_rows(client: httpx.Client, rows: list[dict[str, Any]]) -> None:
    shared = [{**row, "user_id": rows[0]["user_id"], "history": rows[0]["history"]} for row in rows]
    inputs = tensors(shared)
    for item in inputs:
        if item["name"] in ("user_id", "history"):
            item.update(shape=[1], data=item["data"][:1])
    history = next(item for item in inputs if item["name"] == "history")
    lists = {**history, "shape": [1, len(rows[0]["history"])], "datatype": "INT32", "data": [rows[0]["history"]]}
    others = [item for item in inputs if item["name"] != "history"]
    for item in others[:1]:
        item["shape"] = [*item["shape"], 1]
    for inputs in ([*others, history], [*others, lists]):
        result = arrays(client.post(INFER, json={"inputs": inputs}))
        np.testing.assert_array_equal(result["score"], native(client, shared)["score"])


def test_outputs_are_chosen(client: httpx.Client, rows: list[dict[str, Any]]) -> None:
    outputs = [{"name": "score", "parameters": {"binary_data": True}}, {"name": "prediction/click"}]
    answer = client.post(INFER, json={"inputs": tensors(rows), "outputs": outputs, "id": "7"})
    assert list(arrays(answer)) == ["score", "prediction/click"]
    head = json.loads(answer.content[: int(answer.headers[HEADER])])
    assert (head["id"], head["model_name"]) == ("7", "ads")
    assert "data" in head["outputs"][1]


def test_metadata(client: httpx.Client, export: Path) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
    model = client.get("/v2/models/ads").json()
    bundle = Bundle.open(export)
    assert model["versions"] == [bundle.identity[:12]]
    assert {item["name"] for item in model["inputs"]} == set(bundle.manifest.columns)
    kinds = {item["name"]: item["datatype"] for item in model["inputs"]}
    assert {name for name, kind in kinds.items() if kind == "FP64"} >= set(NUMBERS)
    assert kinds["history"] == "BYTES"
    assert {item["name"] for item in model["outputs"]} == {
        "score",
        *(output["name"] for output in bundle.manifest.outputs.values()),
    }
    version = f"/v2/models/ads/versions/{bundle.identity[:12]}"
    assert client.get(version).json() == model
    assert client.get(f"{version}/ready").status_code == client.get("/v2/models/ads/ready").status_code == 200
    for path in ("/v2/models/adz", "/v2/models/ads/versions/9", "/v2/models/adz/ready", "/v2/nothing"):
        assert client.get(path).status_code == 404
    assert "the model is 'ads'" in client.post("/v2/models/adz/infer", content=b"").json()["error"]


CHANGES: list[tuple[dict[str, Any], int, str]] = [
    ({"shape": [2]}, 422, "has 1 values, but its shape has 2"),
    ({"shape": [10**12, 0], "data": []}, 413, "at most 50"),
    ({"shape": [-1]}, 422, "negative size"),
    ({"shape": [1, 1, 1]}, 422, "one or two sizes"),
    ({"shape": [True]}, 422, "one or two sizes"),
    ({"shape": [1, 2], "data": [1.0, 2.0]}, 422, "one value per row"),
    ({"datatype": "BF16"}, 422, "datatype must be one of"),
    ({"data": ["cheap"]}, 422, "'cheap' is not a value of FP64"),
    ({"data": [True]}, 422, "is not a value of FP64"),
    ({"data": [False]}, 422, "'False' is not a value of FP64"),
    ({"data": [""]}, 422, "'' is not a value of FP64"),
    ({"datatype": "BYTES", "data": [0]}, 422, "'0' is not a value of BYTES"),
    ({"datatype": "BOOL", "data": [0]}, 422, "'0' is not a value of BOOL"),
    ({"datatype": "UINT8", "data": [256]}, 422, "out of the range of UINT8"),
    ({"datatype": "FP32", "data": [1e300]}, 422, "out of the range of FP32"),
    ({"datatype": "BYTES", "data": ["cheap"]}, 422, "not a number"),
    ({"data": 3}, 422, "must be a list"),
    ({"data": [[1.0]], "shape": [1, 3]}, 422, "rows of 3 values"),
    ({"parameters": {"shared_memory_region": "a"}}, 422, "shared memory is not supported"),
    ({"parameters": {"binary_data_size": 8}}, 422, "has data and binary_data_size"),
    ({"name": "prize"}, 422, "no input 'price'"),
    ({"name": "bid"}, 422, "'bid' is there twice"),
    ({"other": 1}, 422, "unknown key 'other'"),
]


@pytest.mark.parametrize(("change", "status", "reason"), CHANGES)
def test_bad_tensors_are_refused(
    client: httpx.Client, rows: list[dict[str, Any]], change: dict[str, Any], status: int, reason: str
) -> None:
    inputs = tensors([{**rows[0], "price": 1.0}])
    changed = [{**item, **change} if item["name"] == "price" else item for item in inputs]
    answer = client.post(INFER, json={"inputs": changed})
    assert answer.status_code == status, answer.text
    assert reason in answer.json()["error"]


BODIES: list[tuple[Any, int, str]] = [
    (b"{", 400, "not JSON"),
    ({}, 422, "inputs must be a list"),
    ({"inputs": []}, 422, "inputs must be a list"),
    ({"inputs": [1]}, 422, "inputs[0] must be an object"),
    ({"inputs": [{"name": "a"}], "model": 1}, 422, "unknown key 'model'"),
    ({"outputs": [{"name": "prediction/clik"}]}, 422, "did you mean 'prediction/click'"),
    ({"outputs": [{"name": "score", "parameters": {"classification": 3}}]}, 422, "only parameter is binary_data"),
    ({"parameters": {"sequence_id": 3}}, 422, "only parameter is binary_data_output"),
    ({"id": 7}, 422, "id must be text"),
]


@pytest.mark.parametrize(("body", "status", "reason"), BODIES)
def test_bad_bodies_are_refused(
    client: httpx.Client, rows: list[dict[str, Any]], body: Any, status: int, reason: str
) -> None:
    if isinstance(body, dict) and body and "inputs" not in body:
        body = {"inputs": tensors(rows), **body}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(INFER, content=content)
    assert answer.status_code == status, answer.text
    assert reason in answer.json()["error"]


def test_bad_bytes_are_refused(client: httpx.Client, rows: list[dict[str, Any]]) -> None:
    inputs = tensors(rows[:2])
    head = json.dumps({"inputs": inputs}).encode()
    for length in ("-1", "1e3", str(len(head) + 1), "²"):
        answer = client.post(INFER, content=head, headers=[(HEADER.encode(), length.encode())])
        assert answer.status_code == 400, answer.text
    assert "belong to no input" in client.post(INFER, content=head + b"12", headers={HEADER: str(len(head))}).text
    assert client.post(INFER, content=head, headers={"Content-Encoding": "gzip"}).status_code == 415
    assert client.post(INFER, content=b" " * 200_001).status_code == 413
    described, raw = as_bytes(inputs[0])
    for damaged in (raw[:-1], raw + b"\0", b"\xff" * len(raw), raw[:4] + b"\xff" + raw[5:]):
        item = {**described, "parameters": {"binary_data_size": len(damaged)}}
        with pytest.raises(RequestError) as refusal:
            read_tensor(item, "inputs[0]", memoryview(damaged))
        assert refusal.value.status == 422


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(width=32, allow_infinity=False) | st.none(), min_size=1), st.sampled_from(["FP32", "FP64"]))
def test_json_and_bytes_have_the_same_values(values: list[float | None], kind: str) -> None:
    item = {"name": "a", "shape": [len(values)], "datatype": kind, "data": values}
    described, raw = as_bytes(item)
    read = read_tensor({**item, "data": [None if v != v else v for v in values]}, "inputs[0]", memoryview(b""))
    assert read == read_tensor(described, "inputs[0]", memoryview(raw))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text()), st.binary(max_size=20))
def test_text_survives_bytes(values: list[str], rest: bytes) -> None:
    described, raw = as_bytes({"name": "a", "shape": [len(values)], "datatype": "BYTES", "data": values})
    tensor, tail = read_tensor(described, "inputs[0]", memoryview(raw + rest))
    assert tensor.values == [value or None for value in values]
    assert bytes(tail) == rest


SCRIPT = """
import json, sys
import numpy as np
import tritonclient.http as http

url, path = sys.argv[1:]
given = json.load(open(path))
client = http.InferenceServerClient(url)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("export")
model = client.get_model_metadata("export")
kinds = {item["name"]: item["datatype"] for item in model["inputs"]}
for binary in (True, False):
    inputs = []
    for item in given:
        kind = kinds[item["name"]]
        values = [np.nan if value is None else value for value in item["data"]]
        array = np.array(values, float) if kind == "FP64" else np.array([value.encode() for value in values], object)
        tensor = http.InferInput(item["name"], array.shape, kind)
        tensor.set_data_from_numpy(array, binary_data=binary and kind == "BYTES" or kind == "FP64")
        inputs.append(tensor)
    outputs = [http.InferRequestedOutput(item["name"], binary_data=binary) for item in model["outputs"]]
    for version in ("", model["versions"][0]):
        result = client.infer("export", inputs, model_version=version, outputs=outputs, request_id="7")
        assert result.get_response()["id"] == "7"
        print(json.dumps({item["name"]: result.as_numpy(item["name"]).tolist() for item in model["outputs"]}))
print(len(client.infer("export", inputs).get_response()["outputs"]))
try:
    client.infer("export", inputs[1:])
except http.InferenceServerException as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.slow
def test_tritons_client(export: Path, rows: list[dict[str, Any]], triton: Path, tmp_path: Path) -> None:
    server = Server(export, reload_every=0)
    try:
        inputs = tensors(rows)
        (tmp_path / "inputs.json").write_text(json.dumps(inputs))
        command = [triton, "-c", SCRIPT, f"127.0.0.1:{server.port}", tmp_path / "inputs.json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        *answers, last, problem = [json.loads(line) for line in done.stdout.splitlines()]
        expected = native(server.client, rows)
        assert len(answers) == 4
        for answer in answers:
            assert set(answer) == set(expected)
            for name, values in expected.items():
                np.testing.assert_allclose(answer[name], values, rtol=1e-6)
        assert last == len(expected)
        assert f"no input {inputs[0]['name']!r}" in problem
    finally:
        server.stop()
