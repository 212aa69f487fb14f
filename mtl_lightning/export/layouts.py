"""Layouts of exports for other servers: a model of a Triton repository, and a manifest for KServe."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mtl_lightning.errors import MtlError
from mtl_lightning.export.manifest import Manifest

TYPES = {"int64": "TYPE_INT64", "float32": "TYPE_FP32", "float64": "TYPE_FP64"}
"""Types of Triton by the names of a manifest."""

ROWS = 2000
"""Largest number of rows of a batch that Triton makes."""

CONFIG = "config.pbtxt"
"""File of the configuration for Triton, next to the folder of the version."""

KSERVE = "kserve.yaml"
"""File of the manifest for KServe."""

IMAGE = "mtl-lightning:0.1.0"
"""Image of ``docker/Dockerfile``."""

STORAGE = re.compile(r"[a-z][a-z0-9+.-]*://[^\s]+")
"""Addresses from which KServe fetches models."""


def triton_config(manifest: Manifest, name: str) -> str:
    """Return ``config.pbtxt`` of an export, whose inputs are the encoded ones of the graph.

    Triton gathers rows of several requests; tensors have no size for rows here, and tensors with one value per row
    have the size 1, which ``reshape`` removes.

    Args:
        manifest: Manifest of the export.
        name: Name of the model, which is the name of its folder.

    Source:
        Triton Inference Server, "Model Configuration".
    """
    inputs = [_tensor(item["name"], TYPES[item["dtype"]], item["shape"][1:]) for item in manifest.inputs]
    outputs = [
        _tensor(item["name"], "TYPE_FP32", [] if item["width"] == 1 else [item["width"]])
        for item in manifest.outputs.values()
    ]
    parts = [f'name: "{name}"', 'platform: "onnxruntime_onnx"', f"max_batch_size: {ROWS}", "dynamic_batching { }"]
    parts += [f"input {tensor}" for tensor in inputs] + [f"output {tensor}" for tensor in outputs]
    return "\n".join(parts) + "\n"


def _tensor(name: str, kind: str, shape: Sequence[int]) -> str:
    sizes = ", ".join(map(str, shape or [1]))
    reshape = "" if shape else "\n  reshape { shape: [ ] }"
    return f'{{\n  name: "{name}"\n  data_type: {kind}\n  dims: [ {sizes} ]{reshape}\n}}'


def kserve_manifest(name: str, storage: str) -> str:
    """Return an ``InferenceService`` that serves an export with this package's own server.

    Args:
        name: Name of the service and of its model.
        storage: Address of the export's folder, from which KServe fetches it.

    Raises:
        MtlError: If the address is not one.

    Source:
        KServe, "Custom Model Serving", API ``serving.kserve.io/v1beta1``.

    Example:
        >>> yaml.safe_load(kserve_manifest("ads", "s3://models/ads"))["metadata"]
        {'name': 'ads'}
    """
    if not STORAGE.fullmatch(storage):
        raise MtlError(f"storage: {storage!r} is not an address", "write s3://bucket/ads, or pvc://volume/ads")

    def probe(route: str) -> dict[str, Any]:
        return {"httpGet": {"path": route, "port": 8080}, "periodSeconds": 5}

    pairs = ["export=/mnt/models", f"name={name}", "host=0.0.0.0", "port=8080", "reload_every=0", "access_log=json"]
    container = {
        "name": "kserve-container",
        "image": IMAGE,
        "args": ["serve", *pairs],
        "env": [{"name": "STORAGE_URI", "value": storage}],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": probe("/v2/health/ready"),
        "livenessProbe": probe("/v2/health/live"),
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": {"containers": [container]}},
    }
    text: str = yaml.safe_dump(service, sort_keys=False)
    return text


def check_name(folder: Path, layout: str) -> str:
    """Return the name of the model, which is the name of its folder.

    Args:
        folder: Folder of the export.
        layout: ``triton`` or ``kserve``.

    Raises:
        MtlError: If the server does not accept the name.

    Example:
        >>> check_name(Path("models/ads"), "kserve")
        'ads'
        >>> check_name(Path("models/my ads"), "triton")
        Traceback (most recent call last):
        mtl_lightning.errors.MtlError: out: a model can't be called 'my ads' ...
    """
    pattern = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?" if layout == "kserve" else r"[A-Za-z0-9][A-Za-z0-9._-]*"
    if not re.fullmatch(pattern, folder.name):
        hint = "use lower-case letters, digits and -" if layout == "kserve" else "use letters, digits, _, . and -"
        raise MtlError(f"out: a model can't be called {folder.name!r}", hint)
    return folder.name
