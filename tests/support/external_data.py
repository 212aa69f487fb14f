"""ONNX models with a tensor in another file, in every place that may hold a tensor."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

SECRET = np.array([42.0, 43.0], dtype=np.float32)


def outside(location: str) -> TensorProto:
    """A tensor in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def constant(tensor: TensorProto) -> onnx.NodeProto:
    node = helper.make_node("Constant", [], ["w"])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    return node


def sparse(tensor: TensorProto) -> onnx.SparseTensorProto:
    sparse_tensor = onnx.SparseTensorProto(dims=[2], values=tensor)
    sparse_tensor.indices.CopyFrom(helper.make_tensor("i", TensorProto.INT64, [2], [0, 1]))
    return sparse_tensor


def in_initializer(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.initializer.append(tensor)


def in_constant(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(constant(tensor))


def in_function(model: onnx.ModelProto, tensor: TensorProto) -> None:
    opset = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("f", "F", [], ["w"], [constant(tensor)], opset))


def in_branch(model: onnx.ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="If", input=["c"], output=["w"])
    output = [helper.make_tensor_value_info("w", TensorProto.FLOAT, [2])]
    branch = helper.make_graph([constant(tensor)], "b", [], output)
    node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g.CopyFrom(branch)


def in_sparse_value(model: onnx.ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="Constant", output=["w"])
    node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.CopyFrom(
        sparse(tensor)
    )


def in_sparse_list(model: onnx.ModelProto, tensor: TensorProto) -> None:
    node = model.graph.node.add(op_type="Constant", output=["w"])
    node.attribute.add(name="s", type=onnx.AttributeProto.SPARSE_TENSORS).sparse_tensors.append(sparse(tensor))


def in_sparse_initializer(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.append(sparse(tensor))


def in_training(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.training_info.add().algorithm.initializer.append(tensor)


PLACES = [
    in_initializer,
    in_constant,
    in_function,
    in_branch,
    in_sparse_value,
    in_sparse_list,
    in_sparse_initializer,
    in_training,
]


def model() -> onnx.ModelProto:
    """A model with two numbers as input and output, without operators."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(helper.make_graph([], "g", [x], [y]), opset_imports=opset, ir_version=8)


def save(folder: Path, content: onnx.ModelProto) -> None:
    """Write a model that adds ``w`` to its input, next to the file in which exports store tensors."""
    folder.mkdir(exist_ok=True)
    (folder.parent / "secret").write_bytes(SECRET.tobytes())
    for name in ("model.onnx.data", "other.bin"):
        (folder / name).write_bytes(SECRET.tobytes())
    content.graph.node.append(helper.make_node("Add", ["x", "w"], ["y"]))
    (folder / "model.onnx").write_bytes(content.SerializeToString())
