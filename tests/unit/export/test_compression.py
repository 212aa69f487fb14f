"""Compressed graphs: sizes, values, standard operators, and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mtl_lightning.build import build_network
from mtl_lightning.errors import MtlError
from mtl_lightning.export.compression import Compression, compress, quantize_rows
from mtl_lightning.export.compression_quality import check_loss
from mtl_lightning.export.graph import save_onnx, trace
from mtl_lightning.export.manifest import MODEL
from mtl_lightning.export.session import open_session
from mtl_lightning.export.tensors import check_onnx
from mtl_lightning.testing import example_schema

CHOICES = [("float16", "float32"), ("int8", "float32"), ("float32", "int8"), ("int8", "int8")]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Graph with an embedding table, dense layers, and stacks of layers for experts."""
    network = build_network(example_schema(), architecture={"name": "mmoe", "experts": 2})
    program, example = trace(network)
    path = tmp_path_factory.mktemp("graph") / MODEL
    save_onnx(program, example, [task.name for task in network.schema.tasks], path)
    return path


def inputs(session: object, rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    values = {}
    for item in session.get_inputs():  # type: ignore[attr-defined]
        shape = (rows, *item.shape[1:])
        whole = "int64" in item.type
        values[item.name] = random.integers(0, 4, shape) if whole else random.normal(size=shape).astype(np.float32)
    return values


@pytest.mark.parametrize(("tables", "dense"), CHOICES)
def test_a_compressed_graph_is_smaller_and_predicts_nearly_the_same(
    graph: Path, tables: str, dense: str, tmp_path: Path
) -> None:
    path = compress(graph, tmp_path / "new", Compression(tables=tables, dense=dense))
    check_onnx(path.parent, [file.name for file in path.parent.iterdir()])
    model = onnx.load(path)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    names = {"float32": "FLOAT", "float16": "FLOAT16", "int8": "INT8"}
    assert kinds["network.encoder.table.weight"] == onnx.TensorProto.DataType.Value(names[tables])
    assert any(node.op_type == "MatMulInteger" for node in model.graph.node) == (dense == "int8")
    weights = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    layers = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm") and weights & {*node.input}]
    assert (len(layers) == 0) == (dense == "int8")
    assert {file.name for file in path.parent.iterdir()} <= {MODEL, f"{MODEL}.data"}
    before, after = (open_session(file, threads=1) for file in (graph, path))
    given = inputs(before, 64)
    for expected, result in zip(before.run(None, given), after.run(None, given), strict=True):
        assert np.abs(expected - result).max() < 0.02
        assert (expected != result).any()


def test_the_number_of_rows_stays_free(graph: Path, tmp_path: Path) -> None:
    session = open_session(compress(graph, tmp_path / "new", Compression(tables="int8", dense="int8")), threads=1)
    for rows in (1, 7):
        assert {len(values) for values in session.run(None, inputs(session, rows))} == {rows}


@given(arrays(np.float32, (5, 3), elements=st.floats(-1e6, 1e6, width=32)))
def test_rows_are_within_half_a_step(table: np.ndarray) -> None:
    values, scale = quantize_rows(table)
    assert values.dtype == np.int8
    error = np.abs(values * scale.astype(np.float64) - table)
    assert (error <= 0.5001 * scale + 1e-30).all()


def test_a_table_that_float16_can_not_hold_is_refused(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph)
    (table,) = (tensor for tensor in model.graph.initializer if tensor.name == "network.encoder.table.weight")
    values = onnx.numpy_helper.to_array(table).copy()
    values[0, 0] = 1e6
    table.CopyFrom(onnx.numpy_helper.from_array(values, table.name))
    onnx.save_model(model, tmp_path / MODEL)
    with pytest.raises(MtlError, match="float16 can't hold"):
        compress(tmp_path / MODEL, tmp_path / "new", Compression(tables="float16"))


def test_a_graph_without_tables_or_layers_is_refused(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [None])
    result = onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [None])
    node = onnx.helper.make_node("Relu", ["a"], ["b"])
    graph = onnx.helper.make_graph([node], "plain", [value], [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save_model(model, tmp_path / MODEL)
    with pytest.raises(MtlError, match="no embedding table"):
        compress(tmp_path / MODEL, tmp_path / "tables", Compression(tables="int8"))
    with pytest.raises(MtlError, match="no dense layer"):
        compress(tmp_path / MODEL, tmp_path / "dense", Compression(dense="int8"))


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ({"click": 0.79, "buy": 0.6}, "'click' falls from 0.8000 to 0.7900, by more than 0.001"),
        ({"click": None, "buy": 0.6}, "'click' falls from 0.8000 to undefined"),
    ],
)
def test_a_loss_of_auc_is_refused(after: dict[str, float | None], reason: str) -> None:
    before = {"name": "float32", "auc": {"click": 0.8, "buy": 0.6}}
    with pytest.raises(MtlError, match=reason):
        check_loss([before, {"name": "tables=int8", "auc": after}], 0.001)
    check_loss([before, {"name": "tables=int8", "auc": {"click": 0.7995, "buy": 0.7}}], 0.001)


def test_without_an_auc_the_loss_can_not_be_checked() -> None:
    records = [{"name": name, "auc": {"click": None}} for name in ("float32", "tables=int8")]
    with pytest.raises(MtlError, match="no task has an AUC"):
        check_loss(records, 0.5)
