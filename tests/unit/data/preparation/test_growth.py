"""Going on from an earlier fit: ids stay, numbers keep their scale, weights move to the rows of their values."""

import pyarrow as pa
import pytest
import torch

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation import growth
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.targets.tasks import build_tasks
from mtl_lightning.errors import ConfigError, DataError
from mtl_lightning.fitting.warm_start import table_rows
from mtl_lightning.plugins import registry

FEATURES = {
    "user": "categorical",
    "item": "categorical",
    "seen": {"kind": "sequence", "of": "item", "length": 3},
    "words": {"kind": "sequence", "separator": " ", "length": 3},
    "price": "numeric",
    "level": {"kind": "buckets", "column": "price", "count": 3},
    "hash": {"kind": "hashed", "column": "user", "size": 50},
    "pair": {"kind": "cross", "of": ["user", "level"], "size": 60},
}
TASKS = {
    "click": "binary",
    "spend": {"kind": "regression", "label": "spend"},
    "genre": {"kind": "multiclass", "label": "genre"},
}
DAY_1 = {
    "user": ["ann", "bob", "ann", "eve"] * 10,
    "item": [7, 8, 7, 9] * 10,
    "seen": [[7], [], [8, 7], None] * 10,
    "words": ["red dress", "hat", "red", None] * 10,
    "price": [1.0, 2.0, 3.0, None] * 10,
    "click": [0, 1, 1, 0] * 10,
    "spend": [1.0, 2.0, 3.0, 10.0] * 10,
    "genre": ["a", "b", "a", "c"] * 10,
}
DAY_2 = {
    "user": ["zoe", "zoe", "zoe", "bob"] * 10,
    "item": [11, 10, 11, 7] * 10,
    "seen": [[12, 7], [10], [], [9]] * 10,
    "words": ["blue hat", "blue", "blue", "dress"] * 10,
    "price": [100.0, 200.0, 300.0, 400.0] * 10,
    "click": [1, 1, 1, 0] * 10,
    "spend": [100.0, 200.0, 300.0, 1.0] * 10,
    "genre": ["d", "a", "b", "d"] * 10,
}


def fitted(rows, base=None, features=FEATURES, tasks=TASKS):
    created = Transforms(build_features(features), build_tasks(tasks))
    if base is not None:
        growth.begin(created, base)
    created.fit([pa.table(rows)])
    return created


def test_known_rows_are_encoded_as_before_and_new_values_come_after_them():
    before = fitted(DAY_1)
    after = fitted(DAY_2, before)
    old, new = before.encode(DAY_1), after.encode(DAY_1)
    assert torch.equal(old.ids, new.ids)
    assert torch.equal(old.dense, new.dense)
    assert all(torch.equal(old.sequences[name], new.sequences[name]) for name in old.sequences)
    ids = after.encode(DAY_2).ids
    column = after.schema.id_columns
    assert ids[:4, column["user"]].tolist() == [5, 5, 5, before.encode(DAY_1).ids[1, column["user"]]]
    # 10, 11 and 12 are new to the table that items and what was seen share; equal counts go by value.
    assert ids[:3, column["item"]].tolist() == [6, 5, 6]
    assert after.schema.field("seen").size == after.schema.field("item").size == before.schema.field("item").size + 3
    assert [task.mean for task in after.schema.tasks] == [task.mean for task in before.schema.tasks]
    assert after.schema.task("genre").classes == 3
    assert after.schema.field("price").edges == before.schema.field("price").edges


def test_a_day_without_a_positive_label_goes_on(caplog):
    base = fitted(DAY_1)
    today = {**DAY_2, "click": [0] * 40, "spend": [None] * 40, "genre": ["a"] * 40}
    grown = fitted({**today, "spend": pa.array(today["spend"], pa.float64())}, base)
    assert [label.task for label in grown.labels.values()] == [label.task for label in base.labels.values()]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["tasks.click", "tasks.spend"]
    with pytest.raises(DataError, match=r"click.*is 0 in every row"):
        fitted(today)


def test_growth_goes_through_json_and_on_the_third_day():
    second = Transforms.from_dict(fitted(DAY_2, fitted(DAY_1)).to_dict())
    third = fitted({**DAY_1, "user": ["new"] * 40}, second)
    assert third.schema.field("user").size == second.schema.field("user").size + 1
    assert torch.equal(third.encode(DAY_2).ids, second.encode(DAY_2).ids)


def test_a_floor_counts_new_values_only_and_a_cap_keeps_old_ones():
    before = fitted(DAY_1)
    few = fitted(DAY_2, before, {**FEATURES, "item": {"kind": "categorical", "min_count": 15}})
    assert few.schema.field("item").size == before.schema.field("item").size + 2
    capped = fitted(DAY_2, before, {**FEATURES, "item": {"kind": "categorical", "max_size": 4}})
    assert capped.schema.field("item").size == 2 + 4
    full = fitted(DAY_2, before, {**FEATURES, "item": {"kind": "categorical", "max_size": 1}})
    assert full.schema.field("item").size == before.schema.field("item").size


def test_numbers_become_text_when_today_has_words():
    before = fitted(DAY_1)
    after = fitted({**DAY_2, "item": ["7", "x", "9", "y"] * 10, "seen": [["x"], [], [], None] * 10}, before)
    item = after.schema.id_columns["item"]
    assert torch.equal(after.encode(DAY_1).ids[:, item], before.encode(DAY_1).ids[:, item])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"user": "hashed"}, "features.user: is hashed, was categorical"),
        ({"hash": {"kind": "hashed", "column": "user", "size": 51}}, "features.hash.size: is 51, was 50"),
        ({"price": {"kind": "numeric", "transform": "log"}}, "features.price.transform: is 'log', was 'standard'"),
        ({"more": {"kind": "categorical", "column": "user"}}, "features.more: is not a feature of the earlier run"),
    ],
)
def test_features_of_another_meaning_are_refused(features, message):
    with pytest.raises(ConfigError) as error:
        fitted(DAY_2, fitted(DAY_1), {**FEATURES, **features})
    assert message in str(error.value)


def test_a_feature_that_is_gone_and_a_task_of_another_kind_are_refused():
    fewer = {name: spec for name, spec in FEATURES.items() if name != "words"}
    with pytest.raises(ConfigError, match=r"features\.words: is missing"):
        fitted(DAY_2, fitted(DAY_1), fewer)
    with pytest.raises(ConfigError, match=r"tasks\.spend\.kind: is count, was regression"):
        fitted(DAY_2, fitted(DAY_1), tasks={**TASKS, "spend": {"kind": "count", "label": "spend"}})


@pytest.mark.parametrize(
    ("encoder", "architecture"),
    [
        *((name, "stem") for name in ("embedding", "din", "transformer", "dcn_v2", "autoint")),
        *((name, "shared_bottom") for name in registry().names("encoder")),
    ],
)
def test_rows_of_known_values_cover_the_earlier_table(encoder, architecture):
    before = fitted(DAY_1).schema
    after = fitted(DAY_2, fitted(DAY_1)).schema
    old = build_module(before, encoder=encoder, architecture=architecture)
    new = build_module(after, encoder=encoder, architecture=architecture)
    (was,), (table,) = old.network.encoder.table_parameters(), new.network.encoder.table_parameters()
    rows = table_rows(new, before, 0, table, was)
    taken = torch.cat([torch.arange(len(was))[source] for _, source in rows])
    copies = old.network.encoder.copies
    assert len(taken) == len(taken.unique()) == len(was) - copies  # all but padding
    with torch.no_grad():
        for target, source in rows:
            table[target] = was[source]
    batch = fitted(DAY_1).encode(DAY_1)
    again = fitted(DAY_2, fitted(DAY_1)).encode(DAY_1)
    for copy in range(copies):
        result = zip(
            old.network.encoder.lookup(batch, {}, copy), new.network.encoder.lookup(again, {}, copy), strict=True
        )
        assert all(torch.equal(item, other) for item, other in result)


def test_the_summary_counts_rows_with_new_ids(tmp_path):
    base = DataModule.from_frame(DAY_1, features=FEATURES, tasks=TASKS, cache_dir=tmp_path).prepare().transforms
    options = {"features": FEATURES, "tasks": TASKS, "split": {"validation": 0.0, "test": 0.0}, "cache_dir": tmp_path}
    cold = DataModule.from_frame(DAY_2, **options)
    warm = DataModule.from_frame(DAY_2, base=base, **options)
    assert "new" not in cold.prepare().summary
    assert warm.prepare().path != cold.prepare().path
    new = warm.prepare().summary["new"]["train"]
    assert {name: new[name] for name in ("user", "item", "seen", "words", "level", "hash")} == {
        "user": 30, "item": 30, "seen": 20, "words": 30, "level": 0, "hash": 0,
    }  # fmt: skip
