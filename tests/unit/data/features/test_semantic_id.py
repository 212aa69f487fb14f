"""Semantic ids: similar vectors share prefixes, blocks and order do not matter, unseen vectors, saved state."""

import json

import numpy as np
import pyarrow as pa
import pytest

from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.features.semantic_id import fit_centres, nearest
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.errors import DataError

OPTIONS = {"kind": "semantic_id", "size": 4, "levels": 3, "clusters": 4}
GENERATOR = np.random.default_rng(0)
CENTRES = GENERATOR.normal(0, 10, (4, 4))
GROUP = GENERATOR.integers(0, 4, 400)
VECTORS = CENTRES[GROUP] + GENERATOR.normal(0, 1, (400, 4))


def table(vectors):
    return pa.table({"image": [row.tolist() for row in vectors]})


def fitted(*tables, **options):
    transforms = Transforms(build_features({"image": {**OPTIONS, **options}}), ())
    transforms.fit(tables)
    return transforms


def state_of(transforms):
    return transforms.to_dict()["features"]["image"]["fitted"]


def test_similar_vectors_share_the_first_id_and_levels_refine_it():
    transforms = fitted(table(VECTORS))
    ids = transforms.encode(table(VECTORS)).sequences["image"].numpy()
    pairs = {(int(group), int(number)) for group, number in zip(GROUP, ids[:, 0], strict=True)}
    assert len(pairs) == 4 == len({number for _, number in pairs})
    assert ids.min() >= 2
    assert ids.max() < transforms.schema.field("image").size
    for level in (1, 2):  # an id is of a prefix, which has one id above it
        above = dict(zip(ids[:, level].tolist(), ids[:, level - 1].tolist(), strict=True))
        assert [above[number] for number in ids[:, level].tolist()] == ids[:, level - 1].tolist()
        assert len(np.unique(ids[:, level])) > len(np.unique(ids[:, level - 1]))
        assert not {*ids[:, level].tolist()} & {*ids[:, level - 1].tolist()}


def test_order_blocks_and_copies_of_rows_do_not_matter_and_seeds_do():
    expected = state_of(fitted(table(VECTORS), sample=100))
    shuffled = VECTORS[np.random.default_rng(1).permutation(400)]
    parts = [table(shuffled[:7]), table(shuffled[7:]), table(VECTORS[:50])]
    assert state_of(fitted(*parts, sample=100)) == expected
    assert state_of(fitted(table(VECTORS), sample=100, seed=1)) != expected


def test_unseen_missing_and_served_vectors():
    transforms = fitted(table(VECTORS[:40]))
    again = Transforms.from_dict(json.loads(json.dumps(transforms.to_dict())))
    rows = {"image": [*(CENTRES + 0.1).tolist(), None, [0.0] * 4, (CENTRES[0] * 3).tolist()]}
    ids = transforms.encode(rows).sequences["image"].tolist()
    assert ids[4] == ids[5] == [0, 0, 0]
    assert all(row[0] >= 2 for row in (*ids[:4], ids[6]))
    assert RowEncoder(again).encode(rows, 7)["sequence/image"].tolist() == ids
    alone = [RowEncoder(again).encode({"image": [row]}, 1)["sequence/image"][0].tolist() for row in rows["image"]]
    assert alone == ids
    assert fitted(table(np.zeros((3, 4)))).encode(rows).sequences["image"].tolist()[0] == [1, 1, 1]


def test_text_and_wrong_sizes():
    text = pa.table({"image": [" ".join(map(repr, row)) for row in VECTORS.tolist()]})
    assert state_of(fitted(text)) == state_of(fitted(table(VECTORS)))
    with pytest.raises(DataError, match="holds 3 values where 4 are expected"):
        fitted(table(VECTORS[:, :3]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 0}, "levels is 0"),
        ({"clusters": 1}, "clusters is 1"),
        ({"levels": 16, "clusters": 4096}, "4096 clusters on 16 levels"),
        ({"sample": 2}, "sample is 2 .at least 4"),
        ({"column": "a", "expression": "b"}, "column and expression are both set"),
    ],
)
def test_options_that_are_wrong_are_refused_with_their_place(options, message):
    with pytest.raises(DataError, match=message) as caught:
        build_features({"f": {**OPTIONS, **options}})
    assert "features.f" in str(caught.value)


def test_a_state_of_another_form_is_refused():
    state = fitted(table(VECTORS)).to_dict()
    state["features"]["image"]["fitted"]["centres"].pop()
    with pytest.raises(DataError, match="has 2 levels of centres and 3 of prefixes, not 3"):
        Transforms.from_dict(state)


def test_centres_are_the_means_of_their_points():
    points = GENERATOR.normal(0, 1, (300, 3))
    centres = fit_centres(points, 5, np.random.default_rng(3))
    codes = nearest(points, centres)
    distances = np.square(points[:, None] - centres[None]).sum(axis=2)
    assert (codes == distances.argmin(axis=1)).all()
    means = np.stack([points[codes == code].mean(axis=0) for code in range(5)])
    np.testing.assert_allclose(centres, means, atol=1e-2)
