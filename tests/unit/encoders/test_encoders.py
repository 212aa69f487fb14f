"""Encoders beyond the plain embedding: shapes, padding, equations, gradients."""

import pytest
import torch
from encoder_cases import MIXERS, NAMES, SCHEMA
from encoder_cases import build_encoder as build
from encoder_cases import encoder_batch as batch

from mtl_lightning.batch import Batch
from mtl_lightning.encoders.attention import AttentionBlock
from mtl_lightning.encoders.din import DINEncoder
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.encoders.numeric import Levels, Periodic, PiecewiseLinear
from mtl_lightning.errors import MtlError
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Field, Schema


@pytest.mark.parametrize("projection", [0, 3])
@pytest.mark.parametrize("numeric", ["plain", "piecewise", "levels", "periodic"])
@pytest.mark.parametrize("name", NAMES)
def test_fields_have_slices_unless_they_are_mixed_and_every_parameter_learns(name, numeric, projection):
    encoder = build(name, numeric=numeric, projection=projection)
    encoded = encoder(batch())
    assert encoded.z.shape == (6, encoder.width)
    if name in MIXERS:
        assert not encoded.slices
    else:
        assert sorted(encoded.slices) == sorted(field.name for field in SCHEMA.fields)
        assert sum(encoded.field(field.name).shape[1] for field in SCHEMA.fields) == encoder.width
    encoded.z.square().sum().backward()
    assert [part for part, parameter in encoder.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_a_shared_trunk(name):
    encoder = build(name, copies=3)
    encoded = encoder(batch())
    assert torch.equal(torch.cat([encoded.copy(i) for i in range(3)], 1), encoded.z)
    trunk = build(name, hidden=[5])
    assert trunk.width == 5
    assert not trunk.slices
    assert trunk(batch()).z.shape == (6, 5)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_on_their_own_and_padding_says_nothing(name):
    encoder = build(name).eval()
    whole = encoder(batch()).z
    torch.testing.assert_close(encoder(batch().map(lambda x: x[2:3])).z, whole[2:3])
    assert torch.isfinite(whole).all()
    with torch.no_grad():
        encoder.table.weight[0] = 0  # is, and stays
    assert encoder(batch().map(lambda x: x[:0])).z.shape == (0, encoder.width)


@pytest.mark.parametrize("option", ["dropout", "step_dropout"])
@pytest.mark.parametrize("name", NAMES)
def test_every_encoder_drops_in_training_only(name, option):
    encoder, plain = build(name, **{option: 0.5}), build(name)
    torch.testing.assert_close(encoder.eval()(batch()).z, plain(batch()).z)
    assert not torch.allclose(encoder.train()(batch()).z, plain(batch()).z)


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("numeric", ["plain", "periodic"])
def test_projection_is_a_linear_layer_per_field(numeric, copies):
    plain, encoder = (build("embedding", copies, numeric=numeric, numeric_width=5, projection=p) for p in (0, 3))
    encoder.load_state_dict(plain.state_dict(), strict=False)
    before, after = plain(batch()), encoder(batch())
    assert encoder.width == copies * 6 * 3
    for copy in range(copies):
        weights = [item for weight in encoder.projections[copy].weights for item in weight.unbind(0)]
        biases = encoder.projections[copy].bias.data.normal_().view(6, 3)
        after = encoder(batch())
        for i, field in enumerate(["a.user", "item", "the history", "words", "price", "text"]):
            x = before.z[:, before.slices[field].start + copy * plain.width // copies :][:, : weights[i].shape[1]]
            result = after.z[:, copy * 18 + 3 * i :][:, :3]
            torch.testing.assert_close(result, x @ weights[i].T + biases[i])
            if copies == 1:
                torch.testing.assert_close(after.field(field), result)


def test_din_looks_at_the_embedding_of_the_item_whatever_the_projection():
    plain, projected = build("din"), build("din", projection=3)
    projected.load_state_dict(plain.state_dict(), strict=False)
    history = plain(batch()).field("the history")
    weight = projected.projections[0].weights[0][2]
    torch.testing.assert_close(projected(batch()).field("the history"), history @ weight.T)


def test_din_is_the_weighted_sum_of_the_paper():
    encoder = build("din")
    rows = batch()
    encoded = encoder(rows)
    table = encoder.table.weight.view(-1, 4)
    offset = encoder.offsets[1]
    item = encoded.field("item")
    for i in range(6):
        expected = torch.zeros(4, dtype=torch.float64)
        for step in rows.sequences["the history"][i].tolist():
            if step:
                e = table[step + offset]
                seen = torch.cat([e, item[i], e - item[i], e * item[i]])
                expected = expected + encoder.attention[0](seen) * e
        torch.testing.assert_close(encoded.field("the history")[i], expected)


def test_din_means_the_same_in_training_where_steps_are_dropped():
    encoder = build("din", step_dropout=0.5, init_scale=1.0)
    rows = batch()
    rows.sequences["the history"] = torch.full((6, 4), 3)
    expected = encoder.eval()(rows).field("the history").detach()
    encoder.train()
    with torch.no_grad():
        mean = torch.stack([encoder(rows).field("the history") for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, expected, rtol=0.05, atol=0.01)


def test_din_without_a_target_keeps_the_mean():
    plain, din = build("embedding"), build("din")
    din.table.load_state_dict(plain.table.state_dict())
    torch.testing.assert_close(din(batch()).field("words"), plain(batch()).field("words"))


def test_din_learns_whether_the_item_was_seen_before():
    """A mean over the history can't predict it for unseen pairs; attention to the item can."""
    generator = torch.Generator().manual_seed(0)
    schema = Schema(
        (
            Field(name="item", kind="categorical", size=42, table="item"),
            Field(name="history", kind="sequence", size=42, table="item", length=4),
        ),
        (),
    )
    result = {}
    for kind in (EmbeddingEncoder, DINEncoder):
        torch.manual_seed(0)
        encoder = kind(schema, 1, width=8, init_scale=1.0)
        encoder.table.requires_grad_(False)
        head = torch.nn.Linear(encoder.width, 1)
        optimizer = torch.optim.Adam(
            [p for p in (*encoder.parameters(), *head.parameters()) if p.requires_grad], lr=0.01
        )
        generator.manual_seed(0)
        for step in range(400):
            history = torch.randint(2, 42, (256, 4), generator=generator)
            seen = torch.rand(256, generator=generator) < 0.5
            item = torch.where(seen, history[:, 1], torch.randint(2, 42, (256,), generator=generator))
            rows = Batch(
                schema=schema, ids=item.unsqueeze(1), dense=torch.zeros(256, 0), labels=torch.zeros(256, 0),
                mask=torch.zeros(256, 0, dtype=torch.bool), sequences={"history": history},
            )  # fmt: skip
            z = encoder(rows)
            # The product of the item and the pooled history is what a tower could learn from either.
            score = head(torch.cat([z.field("item") * z.field("history"), z.field("item")], 1))[:, 0]
            label = (history == item.unsqueeze(1)).any(1).float()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(score, label)
            if step == 399:
                result[kind] = loss.item()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert result[DINEncoder] < 0.7 * result[EmbeddingEncoder]


def test_transformer_ignores_what_is_padded():
    encoder = build("transformer").eval()
    rows = batch()
    before = encoder(rows).z
    with torch.no_grad():
        # Places of steps that row 1 doesn't have; a number added throughout would fall to the normalisation.
        encoder.places[0][3:] += 100 * torch.randn(2, 4)
    torch.testing.assert_close(encoder(rows).z[:2], before[:2])


def test_transformer_counts_places_back_from_the_latest_step():
    encoder = build("transformer").eval()
    rows = batch()
    history = torch.tensor([[5, 0, 0, 0], [3, 5, 0, 0], [3, 0, 5, 0], [3, 4, 6, 5]])
    rows.sequences["the history"] = history.repeat(2, 1)[:6]
    before = encoder(rows).field("the history").detach()
    shift = torch.tensor([1.0, -1.0, 2.0, 0.5])
    for place, moved in enumerate([[0, 1, 2, 3], [1, 3], [2, 3], [3]], start=1):
        with torch.no_grad():
            encoder.places[0][place] += shift
        change = (encoder(rows).field("the history") - before).abs().amax(1)[:4]
        expected = [i in moved for i in range(4)]
        # Row 2 has its other step two places back, since one between is unknown.
        expected[2] = place in (1, 3)
        assert (change > 1e-6).tolist() == expected, place
        with torch.no_grad():
            encoder.places[0][place] -= shift


def test_transformer_learns_what_the_latest_step_says_whatever_the_length():
    """Places counted from the oldest step reach 0.9 here."""
    torch.manual_seed(0)
    history = Field(name="history", kind="sequence", size=42, table="item", length=30)
    schema = Schema((history,), ())
    encoder = registry().resolve("encoder", "transformer")(schema, 1, width=16)
    head = torch.nn.Linear(16, 1)
    table = encoder.table_parameters()
    dense = [*head.parameters(), *(item for item in encoder.parameters() if item is not table[0])]
    optimizers = [torch.optim.Adam(dense, lr=0.005), torch.optim.SparseAdam(table, lr=0.02)]
    generator = torch.Generator().manual_seed(0)

    def draw(rows):
        items = torch.randint(2, 42, (rows, 30), generator=generator)
        length = torch.randint(3, 31, (rows, 1), generator=generator)
        latest = items.gather(1, length - 1)[:, 0]
        empty = torch.zeros(rows, 0)
        history = items.where(torch.arange(30) < length, 0)
        batch = Batch(
            schema=schema,
            ids=empty.long(),
            dense=empty,
            labels=empty,
            mask=empty.bool(),
            sequences={"history": history},
        )
        return batch, (latest % 2).float()

    for _ in range(300):
        rows, label = draw(128)
        encoder.zero_grad()
        head.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(encoder(rows).z)[:, 0], label)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    rows, label = draw(2000)
    right = ((head(encoder.eval()(rows).z)[:, 0] > 0) == (label > 0.5)).float().mean()
    assert right > 0.99


def test_transformer_knows_the_order():
    encoder = build("transformer", init_scale=1.0).eval()
    rows = batch()
    rows.sequences["the history"] = torch.tensor([[3, 4, 5, 6]]).repeat(6, 1)
    forward = encoder(rows).field("the history")
    rows.sequences["the history"] = torch.tensor([[6, 5, 4, 3]]).repeat(6, 1)
    assert not torch.allclose(encoder(rows).field("the history"), forward)


@pytest.mark.parametrize("rank", [0, 3])
def test_crosses_by_the_papers_equation(rank):
    encoder = build("dcn_v2", crosses=2, rank=rank)
    plain = build("embedding")
    plain.table.load_state_dict(encoder.table.state_dict())
    x0 = plain(batch()).z
    x = x0
    for layer in encoder.crosses[0]:
        parts = list(layer) if rank else [layer]
        weight = parts[0].weight if not rank else parts[1].weight @ parts[0].weight
        x = x0 * (x @ weight.T + parts[-1].bias) + x
    torch.testing.assert_close(encoder(batch()).z, x)


@pytest.mark.parametrize("size", [2, 4])
def test_autoint_maps_vectors_and_plain_numbers_whatever_their_width(size):
    fields = (
        Field(name="text", kind="vector", size=size),
        Field(name="price", kind="numeric"),
        Field(name="user", kind="categorical", size=7, table="user"),
    )
    encoder = registry().resolve("encoder", "autoint")(Schema(fields, ()), 2, width=4, numeric="plain")
    assert len(encoder.tokens) == 4  # for each of two copies the vector's and the number's
    plain = registry().resolve("encoder", "autoint")(
        Schema(fields[:2], ()), 1, width=1, numeric="plain", attention_heads=1
    )
    assert [token.weight.shape for token in plain.tokens.values()] == [(1, 1), (1, size)]


def test_autoint_lets_fields_see_each_other():
    encoder = build("autoint")
    rows = batch()
    before = encoder(rows).field("a.user")
    rows.ids[:, 1] = (rows.ids[:, 1] + 1) % 9
    assert not torch.allclose(encoder(rows).field("a.user"), before)


def test_attention_is_a_softmax_of_scaled_products_per_head_over_known_tokens():
    torch.manual_seed(0)
    block = AttentionBlock(4, 2).double()
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    known = torch.tensor([[True] * 5, [True, True, False, False, True], [True] + [False] * 4])
    query, key, value = block.inner(block.norm(x)).chunk(3, dim=2)
    seen = torch.zeros_like(x)
    for row in range(3):
        for head in (slice(0, 2), slice(2, 4)):
            score = query[row, :, head] @ key[row, :, head].T / 2**0.5
            share = score.masked_fill(~known[row], -torch.inf).softmax(1)
            seen[row, :, head] = share @ value[row, :, head]
    first = x + block.outer(seen)
    torch.testing.assert_close(block(x, known), first + block.feed_forward(first))


def test_periodic_encoding_by_the_papers_equation():
    torch.manual_seed(0)
    encode = Periodic([Field(name=name, kind="numeric") for name in ("a", "b")], 3, frequencies=2).double()
    x = torch.randn(4, 2, dtype=torch.float64)
    result = encode(x)
    for f in range(2):
        angle = 2 * torch.pi * x[:, f : f + 1] * encode.frequencies.view(2, 2)[f]
        seen = torch.cat([x[:, f : f + 1], angle.sin(), angle.cos()], dim=1)
        expected = (seen @ encode.weight[f] + encode.bias.view(2, 3)[f]).relu()
        torch.testing.assert_close(result[:, 3 * f : 3 * f + 3], expected)


@pytest.mark.parametrize("name", ["autoint", "transformer"])
def test_heads_must_divide_the_width(name):
    with pytest.raises(MtlError, match="attention_heads"):
        build(name, attention_heads=3)


def test_piecewise_linear_shares():
    encode = PiecewiseLinear([Field(name="price", kind="numeric", edges=(-1.0, 0.0, 2.0)),
                              Field(name="flag", kind="numeric", edges=(5.0,))], 3).double()  # fmt: skip
    x = torch.tensor([[-9.0, 5.0], [-0.5, 5.0], [1.0, 9.0], [7.0, 0.0]], dtype=torch.float64)
    assert encode.shares(x)[:, 0].tolist() == [[0, 0], [0.5, 0], [1, 0.5], [1, 1]]
    assert encode.shares(x)[:, 1].tolist() == [[0.5, 0], [0.5, 0], [1, 0], [0, 0]]
    torch.testing.assert_close(encode(x)[:, :3], x[:, :1] * encode.linear[:3] + encode.bias[:3])  # linear at first


@pytest.mark.parametrize("kind", [PiecewiseLinear, Levels])
@pytest.mark.parametrize(
    "edges",
    [(1.7e9,), (-4e30,), (0.0,), (0.0, 1e-42, 1.0), (1.7e9, 1.7e9 + 1, 1.7e9 + 500), (-3e38, 3e38), (-3e38, 0.0, 3e38)],
)
def test_piecewise_linear_is_finite_where_float32_is_too_coarse(edges, kind):
    encode = kind([Field(name="x", kind="numeric", edges=edges)], 3)
    x = torch.tensor([[edges[0]], [edges[-1]], [0.0], [3e38], [-3e38]], requires_grad=True)
    shares = encode.shares(x)
    assert torch.isfinite(shares).all()
    assert shares.min() >= 0
    assert shares.max() <= 1
    encode.weight.data.fill_(1.0)
    encode(x / 1e9).sum().backward()
    assert torch.isfinite(encode.weight.grad).all()


def test_levels_give_each_bin_a_vector_of_its_own():
    torch.manual_seed(0)
    fields = [
        Field(name="price", kind="numeric", edges=(-1.0, 0.0, 2.0)),
        Field(name="flag", kind="numeric", edges=(5.0,)),
    ]
    encode = Levels(fields, 2)
    x = torch.tensor([[-1.5, 0.0], [-1.0, 5.0], [-0.1, 9.0], [0.0, 5.0], [2.0, 4.0]])
    assert encode.level(x).tolist() == [[0, 0], [1, 1], [1, 2], [2, 1], [3, 0]]
    before = encode(x)
    torch.testing.assert_close(before, PiecewiseLinear.forward(encode, x), rtol=0, atol=0)
    with torch.no_grad():
        encode.levels[1] += 1.0  # the level of price that begins at -1
    changed = encode(x) - before
    assert changed[:, :2].tolist() == [[0, 0], [1, 1], [1, 1], [0, 0], [0, 0]]
    assert not changed[:, 2:].any()
    encode(x).sum().backward()
    assert encode.levels.grad[:, 0].tolist() == [1, 2, 1, 1, 2, 2, 1, 0]


def test_levels_separate_values_that_a_steep_line_joins():
    """Five values, labels by their parity: one step of the optimizer orders them, where slopes need many."""
    torch.manual_seed(0)
    x = torch.arange(5.0).repeat(20).unsqueeze(1) / 4
    label, losses = (4 * x) % 2, {}
    for kind in (PiecewiseLinear, Levels):
        encode, head = kind([Field(name="x", kind="numeric", edges=(0, 0.25, 0.5, 0.75, 1))], 8), torch.ones(8, 1) / 8
        optimizer = torch.optim.Adam(encode.parameters(), lr=0.02)
        for _ in range(30):
            optimizer.zero_grad()
            loss = (encode(x) @ head - label).square().mean()
            loss.backward()
            optimizer.step()
        losses[kind] = loss.item()
    assert losses[Levels] < 0.7 * losses[PiecewiseLinear], losses


@pytest.mark.parametrize("kind", [PiecewiseLinear, Levels, Periodic])
def test_numeric_encodings_fit_what_a_line_cannot(kind):
    torch.manual_seed(0)
    x = torch.rand(500, 1) * 4 - 2
    encode = kind([Field(name="x", kind="numeric", edges=tuple(torch.linspace(-2, 2, 17).tolist()))], 8)
    head = torch.nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*encode.parameters(), *head.parameters()], lr=0.02)
    label = (4 * x).sin()
    for _ in range(400):
        optimizer.zero_grad()
        loss = (head(encode(x)) - label).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * label.var().item()
