"""Graphs of a network over named tensors: ``torch.export`` programs and ONNX."""

import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from mtl_lightning.batch import Batch, Steps
from mtl_lightning.errors import MtlError
from mtl_lightning.export.ensemble import Average
from mtl_lightning.export.extras import need
from mtl_lightning.schema import Field, Schema
from mtl_lightning.training.network import Network

REQUEST = "request"
"""Input with the place of each row's request, where inputs that are constant within a request have a row for each."""

PREDICTION = "prediction/"
"""Prefix of the names of outputs, ``prediction/<task>``, which therefore differ from the names of inputs."""


def inputs_of(batch: Batch) -> dict[str, Tensor]:
    """Return the inputs of a batch by name: ``ids``, ``dense``, ``sequence/…``, ``vector/…``, ``raw/…``, ``history/…``.

    A history has ``ids``, ``numbers`` and ``length``, and ``gap`` if it has gaps, padded to its full length. With
    requests, inputs that are constant within one have R rows, and ``request`` is the place of each row's request, [B].
    """
    histories: dict[str, Tensor] = {}
    for name, steps in batch.steps.items():
        whole = steps.padded(batch.schema.field(name).length)
        parts = {"ids": whole.ids, "numbers": whole.numbers, "length": whole.length, "gap": whole.gap}
        histories |= {f"history/{name}/{part}": value for part, value in parts.items() if value is not None}
    groups = {"sequence": batch.sequences, "vector": batch.vectors, "raw": batch.raw}
    inputs = {f"{prefix}/{name}": value for prefix, values in groups.items() for name, value in values.items()}
    request = {} if batch.request is None else {REQUEST: batch.request}
    return {"ids": batch.ids, "dense": batch.dense, **inputs, **histories, **request}


def once_per_request(schema: Schema) -> set[str]:
    """Names of the sequences, histories and vectors that are constant within a request."""
    return {field.name for field in schema.fields if field.per_request and field.kind not in ("categorical", "numeric")}


def blank_requests(schema: Schema) -> Batch:
    """Return a batch of missing values, three rows in two requests; without requests if nothing wide is constant."""
    rows, requests, once = blank_batch(schema, 3), blank_batch(schema, 2), once_per_request(schema)
    if not once:
        return rows
    parts: dict[str, Any] = {
        part: {name: getattr(requests, part)[name] if name in once else value for name, value in values.items()}
        for part in ("sequences", "steps", "vectors")
        if (values := getattr(rows, part))
    }
    return replace(rows, **parts, request=torch.tensor([0, 0, 1]))


def blank_batch(schema: Schema, rows: int) -> Batch:
    """Return a batch of missing values, without labels.

    Args:
        schema: Schema of the batch.
        rows: Number of rows.

    Example:
        >>> from mtl_lightning.schema import Field
        >>> blank_batch(Schema((Field(name="user", kind="categorical", size=9),), ()), 2).ids.tolist()
        [[0], [0]]
    """
    return Batch(
        schema=schema,
        ids=torch.zeros(rows, len(schema.of_kind("categorical")), dtype=torch.int64),
        dense=torch.zeros(rows, len(schema.of_kind("numeric"))),
        sequences={
            field.name: torch.zeros(rows, field.length, dtype=torch.int64) for field in schema.of_kind("sequence")
        },
        steps={field.name: _blank_steps(field, rows) for field in schema.of_kind("history")},
        vectors={field.name: torch.zeros(rows, field.size) for field in schema.of_kind("vector")},
        labels=torch.zeros(rows, schema.label_width),
        mask=torch.zeros(rows, len(schema.tasks), dtype=torch.bool),
        # 0 / 0: torch before 2.9 cannot write a graph with a literal NaN.
        raw={name: torch.zeros(rows, dtype=torch.float64).div(0) for name in schema.raw},
    )


def _blank_steps(field: Field, rows: int) -> Steps:
    ids, numbers = (len(field.steps_of_kind(kind)) for kind in ("categorical", "numeric"))
    return Steps(
        ids=torch.zeros(rows, field.length, ids, dtype=torch.int64),
        numbers=torch.zeros(rows, field.length, numbers),
        length=torch.zeros(rows, dtype=torch.int64),
        gap=torch.zeros(rows, field.length) if field.gap else None,
    )


class Scorer(nn.Module):
    """A network with tensors by name as its input.

    Shapes: {name: [B, …]} → {task: [B] or [B, K]}. Absent inputs are missing values.

    Args:
        network: The network.

    Example:
        See :func:`trace`.
    """

    def __init__(self, network: Network | Average) -> None:
        super().__init__()
        self.network = network

    @override
    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the predictions per task, [B] or [B, K] float32."""
        schema = self.network.schema
        request = inputs.get(REQUEST)
        rows = (next(iter(inputs.values())) if request is None else request).shape[0]
        once = set() if request is None else once_per_request(schema)
        names = {f"{kind}/{name}" for name in once for kind in ("sequence", "vector", "history")}
        shared = (value.shape[0] for name, value in inputs.items() if {name, name.rpartition("/")[0]} & names)
        requests = next(shared, rows)
        blank = blank_batch(schema, 1)

        def value_of(name: str, default: Tensor, feature: str = "") -> Tensor:
            count = requests if feature in once else rows
            return inputs[name] if name in inputs else default.expand(count, *default.shape[1:])

        def group(prefix: str, defaults: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: value_of(f"{prefix}/{name}", default, name) for name, default in defaults.items()}

        def steps(name: str, default: Steps) -> Steps:
            ids, numbers, length = (
                value_of(f"history/{name}/{part}", getattr(default, part), name)
                for part in ("ids", "numbers", "length")
            )
            gap = None if default.gap is None else value_of(f"history/{name}/gap", default.gap, name)
            return Steps(ids, numbers, length, gap)

        batch = Batch(
            schema=schema,
            ids=value_of("ids", blank.ids),
            dense=value_of("dense", blank.dense),
            sequences=group("sequence", blank.sequences),
            steps={name: steps(name, default) for name, default in blank.steps.items()},
            vectors=group("vector", blank.vectors),
            labels=blank.labels.expand(rows, -1),
            mask=blank.mask.expand(rows, -1),
            raw=group("raw", blank.raw),
            request=request,
        )
        predictions: dict[str, Tensor] = self.network(batch)
        return {task.name: predictions[task.name].float() for task in schema.tasks}


def trace(
    network: Network | Average, *, requests: bool = True
) -> tuple[torch.export.ExportedProgram, dict[str, Tensor]]:
    """Trace the graph of a network for any number of rows.

    Args:
        network: The network; it is put into evaluation mode.
        requests: Whether what is constant within a request is an input with a row per request.

    Returns:
        The program, and an example of its inputs by name. Inputs that do not affect predictions are left out.

    Raises:
        MtlError: If the network cannot be traced, with torch's reason.

    Example:
        >>> from mtl_lightning.build import build_network
        >>> from mtl_lightning.testing import example_schema
        >>> program, example = trace(build_network(example_schema()))
        >>> list(example)
        ['ids', 'dense', 'sequence/history', 'sequence/basket']
    """
    scorer = Scorer(network.eval())
    # At least two rows: torch takes sizes of 0 and 1 in an example for constants.
    everything = inputs_of(blank_requests(network.schema) if requests else blank_batch(network.schema, 3))
    used = _used(_export(scorer, everything), list(everything))
    example = {name: everything[name] for name in used}
    return _export(scorer, example), example


def _export(scorer: Scorer, example: dict[str, Tensor]) -> torch.export.ExportedProgram:
    # Without the upper limit, torch 2.6 refuses a dimension that is compared with the largest integer.
    rows = torch.export.Dim("rows", min=1, max=2**31 - 1)
    requests = torch.export.Dim("requests", min=1, max=2**31 - 1)
    shared = example[REQUEST].unique().shape[0] if REQUEST in example else 0
    shapes = ({name: {0: requests if value.shape[0] == shared else rows} for name, value in example.items()},)
    try:
        with torch.no_grad(), quiet_torch():
            program = torch.export.export(scorer, (example,), dynamic_shapes=shapes, strict=False)
    except Exception as error:
        raise MtlError(f"the network can't be exported: {str(error).strip().splitlines()[0]}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds paths of this machine
    return program


def _used(program: torch.export.ExportedProgram, names: Sequence[str]) -> list[str]:
    """Return the inputs that predictions depend on; a dependence on the number of rows alone does not count."""
    placeholders = dict(zip(program.graph_signature.user_inputs, names, strict=True))
    reached: set[str] = set()
    pending = [node for node in program.graph.nodes if node.op == "output"]
    while pending:
        node = pending.pop()
        for source in node.all_input_nodes:
            if source.name not in reached and source.target is not torch.ops.aten.sym_size.int:
                reached.add(source.name)
                pending.append(source)
    return [name for placeholder, name in placeholders.items() if placeholder in reached]


def save_pt2(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write a program without its example inputs, so that the file holds no pickled objects."""
    program.example_inputs = None
    with quiet_torch():
        torch.export.save(program, path)


def save_onnx(
    program: torch.export.ExportedProgram, example: Mapping[str, Tensor], tasks: Sequence[str], path: Path
) -> None:
    """Write a program as ONNX, with large tensors in ``<path>.data``.

    Args:
        program: The program.
        example: Example of its inputs by name, in order.
        tasks: Names of the tasks, in the order of the outputs.
        path: File to write.

    Raises:
        MtlError: If a package of the extra ``export`` is missing, or ONNX cannot represent the graph.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        need(module, "export")
    try:
        with quiet_torch():
            converted = torch.onnx.export(
                program,
                (dict(example),),
                dynamo=True,
                verbose=False,
                input_names=list(example),
                output_names=[PREDICTION + task for task in tasks],
            )
            assert converted is not None
            converted.save(path, external_data=True)
    except torch.onnx.OnnxExporterError as error:
        raise MtlError(f"the network can't be written as ONNX: {str(error).strip().splitlines()[0]}") from error


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Silence torch's notices about optional packages (log, warnings, stdout)."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch._inductor")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
