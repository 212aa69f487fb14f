"""Layouts for Triton and KServe: names, tensors, and a manifest whose command the server accepts."""

from pathlib import Path

import pytest
import yaml

from mtl_lightning.cli.serve import OPTIONS
from mtl_lightning.errors import MtlError
from mtl_lightning.export.layouts import check_name, kserve_manifest


def test_the_manifest_for_kserve_starts_this_packages_server() -> None:
    service = yaml.safe_load(kserve_manifest("ads", "pvc://models/ads"))
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    (container,) = service["spec"]["predictor"]["containers"]
    command, *pairs = container["args"]
    assert command == "serve"
    assert {pair.split("=")[0] for pair in pairs} <= {"export", *OPTIONS}
    assert f"port={container['ports'][0]['containerPort']}" in pairs
    assert container["env"] == [{"name": "STORAGE_URI", "value": "pvc://models/ads"}]
    assert container["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("storage", ["", "models/ads", "s3://", "s3://a b", "s3://a\nkind: Pod"])
def test_other_addresses_are_refused(storage: str) -> None:
    with pytest.raises(MtlError, match="is not an address"):
        kserve_manifest("ads", storage)


@pytest.mark.parametrize(
    ("name", "layout"), [("My", "kserve"), ("a_b", "kserve"), ("-a", "kserve"), ('a"b', "triton"), ("é", "triton")]
)
def test_names_that_a_server_does_not_take_are_refused(name: str, layout: str) -> None:
    with pytest.raises(MtlError, match="a model can't be called"):
        check_name(Path("models") / name, layout)
    assert check_name(Path("models/ads-2"), layout) == "ads-2"
