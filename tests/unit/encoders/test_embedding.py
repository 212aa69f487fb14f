"""The fused table against separate ones, padding, shared sequence tables, copies, and the sparse gradient."""

import pytest
import torch

from mtl_lightning.batch import Batch
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.schema import Field, Schema

SCHEMA = Schema(
    (
        Field(name="user", kind="categorical", size=7, table="user"),
        Field(name="price", kind="numeric"),
        Field(name="item", kind="categorical", size=5, table="item"),
        Field(name="history", kind="sequence", size=5, table="item", length=3),
        Field(name="text", kind="vector", size=2),
    ),
    (),
)


def batch(ids, history):
    rows = len(ids)
    return Batch(
        schema=SCHEMA,
        ids=torch.tensor(ids),
        dense=torch.arange(float(rows)).unsqueeze(1),
        labels=torch.zeros(rows, 0),
        mask=torch.zeros(rows, 0, dtype=torch.bool),
        sequences={"history": torch.tensor(history)},
        vectors={"text": torch.ones(rows, 2)},
    )


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return EmbeddingEncoder(SCHEMA, 1, width=3, numeric="plain")


def test_every_id_has_its_own_row_and_sequences_share_the_items(encoder):
    ids = [[user, item] for user in range(1, 7) for item in range(1, 5)]
    encoded = encoder(batch(ids, [[item, 0, 0] for _, item in ids]))
    users = {tuple(row) for row in encoded.field("user").tolist()}
    items = {tuple(row) for row in encoded.field("item").tolist()}
    assert len(users) == 6
    assert len(items) == 4
    assert not users & items
    assert torch.equal(encoded.field("history"), encoded.field("item"))
    assert encoded.field("price").flatten().tolist() == list(range(24))
    assert encoded.z.shape == (24, encoder.width) == (24, 3 * 3 + 1 + 2)


def test_padding_is_zero_and_stays_zero(encoder):
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1.0)
    for _ in range(3):
        encoded = encoder(batch([[0, 0], [2, 1]], [[0, 0, 0], [1, 0, 0]]))
        assert encoded.z[0, :9].abs().sum() == 0
        optimizer.zero_grad()
        encoded.z.sum().backward()
        optimizer.step()


def test_sequences_are_averaged_over_known_steps(encoder):
    encoded = encoder(batch([[1, 1], [1, 2], [1, 3]], [[1, 2, 0], [3, 0, 0], [1, 2, 3]]))
    items = encoded.field("item")
    torch.testing.assert_close(encoded.field("history")[0], (items[0] + items[1]) / 2)
    torch.testing.assert_close(encoded.field("history")[1], items[2])
    torch.testing.assert_close(encoded.field("history")[2], items.mean(0))


def test_the_gradient_touches_the_batchs_rows_only(encoder):
    encoder(batch([[3, 2], [3, 0]], [[2, 4, 0], [0, 0, 0]])).z.sum().backward()
    gradient = encoder.table.weight.grad
    assert gradient.is_sparse
    touched = gradient.coalesce().to_dense().any(1).nonzero().flatten()
    assert len(touched) == 3  # user 3, items 2 and 4


def test_copies_are_equal_slices_with_their_own_tables():
    encoder = EmbeddingEncoder(SCHEMA, 3, width=2)
    encoded = encoder(batch([[1, 1], [0, 2]], [[1, 0, 0], [0, 0, 0]]))
    parts = [encoded.copy(i) for i in range(3)]
    assert torch.equal(torch.cat(parts, 1), encoded.z)
    assert not torch.equal(parts[0][:, :2], parts[1][:, :2])
    for part in parts:
        assert part[1, :2].abs().sum() == 0  # padding in every copy
        assert torch.equal(part[:, -2:], parts[0][:, -2:])  # vectors; a number has weights, and copies share none


def test_without_ids_there_is_no_table():
    schema = Schema((Field(name="price", kind="numeric"),), ())
    encoder = EmbeddingEncoder(schema, 1, numeric="plain")
    single = Batch(
        schema=schema,
        ids=torch.zeros(2, 0, dtype=torch.int64),
        dense=torch.ones(2, 1),
        labels=torch.zeros(2, 0),
        mask=torch.zeros(2, 0, dtype=torch.bool),
    )
    assert encoder.table_parameters() == []
    assert encoder(single).z.tolist() == [[1.0], [1.0]]


def test_hidden_trunk_ends_in_z():
    encoder = EmbeddingEncoder(SCHEMA, 1, width=3, hidden=[6, 4])
    assert encoder.width == 4
    assert encoder(batch([[1, 1]], [[0, 0, 0]])).z.shape == (1, 4)


def test_a_sum_over_the_root_of_the_number_tells_much_from_little():
    torch.manual_seed(0)
    encoder = EmbeddingEncoder(SCHEMA, 1, width=3, pooling="sqrt")
    encoded = encoder(batch([[1, 2], [1, 2], [1, 2]], [[2, 0, 0], [2, 2, 0], [0, 0, 0]]))
    item, history = encoded.field("item"), encoded.field("history")
    torch.testing.assert_close(history[0], item[0])
    torch.testing.assert_close(history[1], item[1] * 2**0.5)
    assert history[2].abs().sum() == 0


def test_dropout_thins_embeddings_and_vectors_in_training_alone_and_keeps_numbers():
    encoder = EmbeddingEncoder(SCHEMA, 1, width=3, dropout=0.5, numeric="plain")
    rows = batch([[1, 1]] * 4000, [[1, 2, 3]] * 4000)
    whole, thin = encoder.eval()(rows), encoder.train()(rows)
    assert torch.equal(thin.field("price"), whole.field("price"))
    for name in ("user", "item", "history", "text"):
        dropped = thin.field(name) == 0
        assert 0.45 < dropped.float().mean() < 0.55
        torch.testing.assert_close(thin.field(name)[~dropped], 2 * whole.field(name)[~dropped])


def test_steps_left_out_in_training_are_as_if_they_were_not_there():
    torch.manual_seed(0)
    encoder = EmbeddingEncoder(SCHEMA, 1, width=3, step_dropout=0.3)
    rows = batch([[1, 1]] * 4000, [[1, 2, 0]] * 4000)
    seen, items = encoder(rows).field("history"), encoder.eval()(batch([[1, 1], [1, 2]], [[1, 2, 0]] * 2)).field("item")
    possible = torch.stack([torch.zeros(3), items[0], items[1], items.mean(0)])
    shares = (seen.unsqueeze(1) == possible).all(2).float().mean(0)
    assert ((seen.unsqueeze(1) - possible).abs().sum(2).min(1).values < 1e-6).all()
    torch.testing.assert_close(shares[0], torch.tensor(0.09), atol=0.03, rtol=0)
    assert rows.sequences["history"].tolist()[0] == [1, 2, 0]
