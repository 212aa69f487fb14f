"""Smaller graphs: embedding tables in float16 or int8, and dense layers in int8.

Only standard operators of ONNX are written, so that every runtime can read the graph.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtl_lightning.errors import MtlError
from mtl_lightning.export.extras import need
from mtl_lightning.export.manifest import MODEL, TENSORS

VIEWS = ("Reshape", "Transpose", "Squeeze", "Unsqueeze")
"""Operators that only change the shape of a weight."""

SMALLEST = 1024
"""Smallest number of bytes of a tensor that is stored in the second file."""


@dataclass(frozen=True, kw_only=True)
class Compression:
    """Types of the numbers of a graph, and the loss of AUC that is accepted.

    Args:
        tables: ``float32``, ``float16`` or ``int8`` for embedding tables.
        dense: ``float32`` or ``int8`` for the weights of dense layers.
        max_auc_loss: Largest loss of AUC of a task on the validation split.

    Example:
        >>> [part.name for part in Compression(tables="int8", dense="int8").parts()]
        ['tables=int8', 'dense=int8', 'tables=int8 dense=int8']
    """

    tables: str = "float32"
    dense: str = "float32"
    max_auc_loss: float = 0.001

    @property
    def name(self) -> str:
        """The chosen types, as on the command line; ``float32`` without any."""
        chosen = [f"{key}={value}" for key, value in (("tables", self.tables), ("dense", self.dense))]
        return " ".join(pair for pair in chosen if not pair.endswith("float32")) or "float32"

    def parts(self) -> list["Compression"]:
        """Return the compressions to measure, the whole one last."""
        parts = [Compression(tables=self.tables), Compression(dense=self.dense), self]
        return [part for part in parts[:2] if part.name not in ("float32", self.name)] + [self]


def compress(source: Path, folder: Path, compression: Compression) -> Path:
    """Write a graph with smaller numbers.

    Args:
        source: File of the graph in float32.
        folder: Folder for the new files ``model.onnx`` and ``model.onnx.data``.
        compression: Types of the numbers.

    Returns:
        The file of the new graph.

    Raises:
        MtlError: If the graph has no table or no dense layer to compress.
    """
    onnx = need("onnx", "export")
    folder.mkdir()
    target = folder / MODEL
    if compression.dense == "int8":
        source = _quantize_layers(onnx, source, folder)
    model = onnx.load(source)
    if compression.dense == "int8" and not any(node.op_type == "MatMulInteger" for node in model.graph.node):
        raise MtlError("dense: the network has no dense layer that can be quantized", "export without dense=")
    if compression.tables != "float32":
        _convert_tables(onnx, model, compression.tables)
    for path in folder.glob("layers*"):
        path.unlink()
    onnx.save_model(model, target, save_as_external_data=True, location=TENSORS, size_threshold=SMALLEST)
    return target


def _quantize_layers(onnx: Any, source: Path, folder: Path) -> Path:
    """Quantize layers with weights [N, M], by a scale per output, and stacks of layers [S, N, M], by one scale."""
    quantization = need("onnxruntime.quantization", "export")
    model = onnx.load(source)
    _fold_weights(onnx, model.graph)
    source = folder / "layers.onnx"
    onnx.save_model(model, source, save_as_external_data=True, location="layers.data", size_threshold=SMALLEST)
    sizes = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    nodes = [(node, sizes.get(node.input[1], 0)) for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    for stacked in (False, True):
        chosen = [node for node, size in nodes if size and (size > 2) == stacked]
        # A Gemm becomes a MatMul of this name before it is quantized.
        names = [node.name + "_MatMul" * (node.op_type == "Gemm") for node in chosen]
        if names:
            target = folder / f"layers{int(stacked)}.onnx"
            with _quiet():
                quantization.quantize_dynamic(
                    source,
                    target,
                    op_types_to_quantize=["MatMul", "Gemm"],
                    nodes_to_quantize=names,
                    per_channel=not stacked,  # onnxruntime has no kernel for a scale per output of a stack
                    weight_type=quantization.QuantType.QUInt8,  # signed ones saturate on older processors
                    use_external_data_format=True,
                )
            source = target
    return source


def _fold_weights(onnx: Any, graph: Any) -> None:
    """Replace views of weights by their values: torch leaves views of large weights in the graph."""
    reference = need("onnx.reference", "export")
    values = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type in VIEWS and all(name in values for name in node.input):
            inputs = {name: onnx.numpy_helper.to_array(values[name]) for name in node.input}
            (result,) = reference.ReferenceEvaluator(node).run(None, inputs)
            values[node.output[0]] = onnx.numpy_helper.from_array(np.ascontiguousarray(result), node.output[0])
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    del graph.initializer[:]
    graph.initializer.extend(tensor for name, tensor in values.items() if name in used)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence onnxruntime's advice on pre-processing, which it gives through the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _convert_tables(onnx: Any, model: Any, kind: str) -> None:
    """Replace tables that are only looked up, and convert the rows that are looked up back to float32."""
    graph = model.graph
    values = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in values:
                lookup = node.op_type == "Gather" and place == 0 and all(entry.i == 0 for entry in node.attribute)
                readers.setdefault(name, []).append(node if lookup else None)
    tables = [
        name
        for name, nodes in readers.items()
        if None not in nodes and len(values[name].dims) == 2 and values[name].data_type == onnx.TensorProto.FLOAT
    ]
    if not tables:
        raise MtlError("tables: the network has no embedding table that is only looked up", "export without tables=")
    for name in tables:
        table = onnx.numpy_helper.to_array(values[name])
        if kind == "float16" and np.abs(table).max(initial=0.0) > np.finfo(np.float16).max:
            raise MtlError(f"tables: {name} has values that float16 can't hold", "choose tables=int8")
        stored, scale = (table.astype(np.float16), None) if kind == "float16" else quantize_rows(table)
        graph.initializer.remove(values[name])
        graph.initializer.append(onnx.numpy_helper.from_array(stored, name))
        if scale is not None:
            graph.initializer.append(onnx.numpy_helper.from_array(scale, f"{name}_scale"))
        for node in readers[name]:
            _convert_rows(onnx, graph, node, scaled=scale is not None)


def _convert_rows(onnx: Any, graph: Any, node: Any, *, scaled: bool) -> None:
    """Insert the conversion of looked-up rows after their node."""
    name, output = node.input[0], node.output[0]
    node.output[0] = f"{output}_stored"
    numbers = f"{output}_numbers" if scaled else output
    added = [onnx.helper.make_node("Cast", [node.output[0]], [numbers], to=onnx.TensorProto.FLOAT)]
    if scaled:
        rows = [f"{name}_scale", node.input[1]]
        added.append(onnx.helper.make_node("Gather", rows, [f"{output}_scale"], axis=0))
        added.append(onnx.helper.make_node("Mul", [numbers, f"{output}_scale"], [output]))
    place = next(number for number, other in enumerate(graph.node) if other is node or other == node)
    for offset, new in enumerate(added, 1):
        graph.node.insert(place + offset, new)


def quantize_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize each row of a table by its largest value.

    Args:
        table: [N, D] float32.

    Returns:
        Values [N, D] int8, and scales [N, 1] float32: a row is about its values times its scale.

    Example:
        >>> values, scale = quantize_rows(np.array([[0.5, -1.0], [0.0, 0.0]], dtype=np.float32))
        >>> values.tolist(), round(float(values[0, 0] * scale[0, 0]), 3)
        ([[64, -127], [0, 0]], 0.504)
    """
    scale = (np.abs(table).max(1, keepdims=True, initial=0.0) / 127).astype(np.float32)
    divisor = np.where(scale > 0, scale, 1)
    return np.clip(np.rint(table / divisor), -127, 127).astype(np.int8), scale
