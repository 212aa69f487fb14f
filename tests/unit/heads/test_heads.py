"""Properties of every head, and promises of single ones."""

import math

import pytest
import torch
from torch.nn import functional

from mtl_lightning.batch import Output, Target
from mtl_lightning.errors import MtlError
from mtl_lightning.heads.aitm import AITMHead
from mtl_lightning.heads.binary import BinaryHead
from mtl_lightning.heads.esmm import ESMMHead
from mtl_lightning.heads.ordinal import OrdinalHead
from mtl_lightning.heads.position_bias import PositionBiasHead
from mtl_lightning.heads.probability import product_logit, rate_logit
from mtl_lightning.heads.regression import RegressionHead
from mtl_lightning.heads.restoration import restore
from mtl_lightning.heads.value import ValueHead
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.builtin import HEADS
from mtl_lightning.schema import TASK_KINDS, Task

CASCADES = ("aitm", "dcmt", "escm2", "esmm")
CASES = [
    (name, kind) for name in sorted(HEADS) for kind in sorted(registry().resolve("head", name).kinds)
]  # fmt: skip
CLICK = Task(name="click", kind="binary", label="click", mean=0.1)


def build(name, kind, **options):
    parents, tasks = {}, ()
    if name in CASCADES:
        parents, tasks = {"click": BinaryHead(CLICK, 8, {})}, ("click",)
    classes = 4 if kind in ("multiclass", "multilabel", "ordinal") else 1
    task = Task(name="t", kind=kind, label="t", classes=classes, parents=tasks, mean=0.02, scale=0.3)
    torch.manual_seed(0)
    return registry().resolve("head", name)(task, 8, parents, **options).double(), task, parents


def run(head, parents, h, raw):
    outputs = {name: parent.double()(h, {}, raw) for name, parent in parents.items()}
    return head(h, outputs, raw), outputs


def times(rows):
    columns = {"delay": torch.full((rows,), 3e4), "elapsed": torch.full((rows,), 2e5)}
    columns["treatment"] = torch.arange(rows) % 2
    return {name: column.double() for name, column in columns.items()}


def label_of(task, rows):
    generator = torch.Generator().manual_seed(0)
    top = task.classes if task.kind in ("multiclass", "ordinal") else 2
    label = torch.randint(0, top, (rows, task.width), generator=generator).double()
    return label * 0.3 if task.kind in ("regression", "soft_binary", "value") else label


def test_every_task_kind_has_a_head_of_its_name():
    for kind in TASK_KINDS:
        name = {"soft_binary": "binary", "uplift": "t_learner"}.get(kind, kind)
        assert TASK_KINDS[kind].head == name
        assert kind in registry().resolve("head", name).kinds


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_default_loss_fits_and_every_parameter_takes_part(name, kind):
    head, task, parents = build(name, kind)
    loss = registry().resolve("loss", head.loss)
    assert kind in loss.kinds
    h = torch.randn(16, 8, dtype=torch.float64, requires_grad=True)
    output, outputs = run(head, parents, h, times(16))
    target = Target(label=label_of(task, 16), mask=torch.ones(16, dtype=torch.bool), group=torch.arange(16) // 4)
    known = {"click": (outputs["click"], Target(label=torch.ones(16, 1), mask=target.mask))} if parents else {}
    value = loss(task)(output, target, known)
    assert value.shape == ()
    value.backward()
    assert h.grad.abs().sum() > 0
    assert [part for part, parameter in head.named_parameters() if parameter.grad is None] == []
    prediction = head.predict(output, {})
    assert prediction.shape == ((16, 4) if kind in ("multiclass", "multilabel") else (16,))
    if kind in ("binary", "multiclass", "multilabel", "soft_binary"):
        assert ((prediction >= 0) & (prediction <= 1)).all()
    if kind == "uplift":
        assert ((prediction >= -1) & (prediction <= 1)).all()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_no_known_label_gives_a_connected_zero_even_at_infinite_logits(name, kind):
    head, task, parents = build(name, kind)
    h = torch.full((4, 8), 1e300, dtype=torch.float64, requires_grad=True)
    output, outputs = run(head, parents, h, times(4))
    mask = torch.zeros(4, dtype=torch.bool)
    target = Target(label=torch.zeros(4, task.width, dtype=torch.float64), mask=mask, group=torch.zeros(4).long())
    known = {"click": (outputs["click"], Target(label=torch.zeros(4, 1), mask=mask))} if parents else {}
    loss = registry().resolve("loss", head.loss)(task)(output, target, known)
    assert loss.item() == 0
    loss.backward()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_head_survives_a_state_dict(name, kind):
    head, _, parents = build(name, kind)
    torch.manual_seed(5)
    other, _, _ = build(name, kind)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(head.state_dict())
    h = torch.randn(3, 8, dtype=torch.float64)
    head.eval(), other.eval()
    first, second = run(head, parents, h, {})[0], run(other, parents, h, {})[0]
    assert torch.equal(head.predict(first, {}), other.predict(second, {}))


def test_product_of_probabilities_is_exact_where_they_are_tiny():
    a = torch.tensor([-40.0, 0.0, 40.0, -700.0], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([-40.0, 3.0, 40.0, 0.0], dtype=torch.float64)
    logit = product_logit(a, b)
    p = a.detach().sigmoid() * b.sigmoid()
    torch.testing.assert_close(logit[:2].detach(), torch.log(p[:2]) - torch.log1p(-p[:2]), rtol=1e-12, atol=0)
    assert logit[2].item() == pytest.approx(40 - math.log(2), rel=1e-9)  # 1 − p = 2e−40: lost as a difference
    assert logit[3].item() == pytest.approx(-700 - math.log(2))
    logit.sum().backward()
    assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize("name", CASCADES)
def test_funnels_are_monotone_in_every_row(name):
    click = BinaryHead(CLICK, 8, {})
    cart = registry().resolve("head", name)(
        Task(name="cart", kind="binary", label="cart", parents=("click",)), 8, {"click": click}
    )
    pay = registry().resolve("head", name)(
        Task(name="pay", kind="binary", label="pay", parents=("cart",)), 8, {"cart": cart}
    )
    torch.manual_seed(0)
    h = torch.randn(500, 8) * 20
    first = click(h, {}, {})
    second = cart(h, {"click": first}, {})
    third = pay(h, {"cart": second}, {})
    p = [head.predict(output, {}) for head, output in ((click, first), (cart, second), (pay, third))]
    assert (p[1] <= p[0]).all()
    assert (p[2] <= p[1]).all()


@pytest.mark.parametrize("name", CASCADES)
def test_a_cascade_asks_for_one_binary_parent(name):
    kind = registry().resolve("head", name)
    task = Task(name="sale", kind="binary", label="sale")
    with pytest.raises(MtlError, match="parent"):
        kind(task, 8, {})
    with pytest.raises(MtlError, match="binary"):
        kind(task, 8, {"dwell": RegressionHead(Task(name="dwell", kind="regression", label="d"), 8, {})})


def test_aitm_attends_to_the_parents_state_and_its_own_by_the_papers_equation():
    torch.manual_seed(0)
    click = BinaryHead(CLICK, 8, {}, hidden=[5])
    head = AITMHead(Task(name="s", kind="binary", label="s", parents=("click",)), 8, {"click": click}, hidden=[4])
    h = torch.randn(6, 8)
    parent = click(h, {}, {})
    states = [head.transfer(parent.hidden), head.tower(h)]
    score = torch.stack([(head.query(u) * head.key(u)).sum(1) / 4**0.5 for u in states], dim=1).softmax(1)
    hidden = sum(score[:, i : i + 1] * head.value(u) for i, u in enumerate(states))
    output = head(h, {"click": parent}, {})
    torch.testing.assert_close(output.hidden, hidden)
    torch.testing.assert_close(output.logit, head.output.output(hidden))


def test_aitm_penalty_is_the_excess_over_the_parent():
    click = BinaryHead(CLICK, 8, {}, hidden=[4])
    head = AITMHead(Task(name="s", kind="binary", label="s", parents=("click",)), 8, {"click": click}, hidden=[4])
    with torch.no_grad():
        head.output.output.weight.zero_()
        head.output.output.bias.fill_(math.log(0.7 / 0.3))
    parent = Output(torch.logit(torch.tensor([[0.2], [0.9]])), hidden=torch.zeros(2, 4))
    output = head(torch.zeros(2, 8), {"click": parent}, {})
    torch.testing.assert_close(output.penalty, torch.tensor([0.6 * 0.5, 0.0]))
    torch.testing.assert_close(head.predict(output, {}), torch.tensor([0.2, 0.7]))


def test_biases_start_at_base_rates():
    click = BinaryHead(CLICK, 8, {}, hidden=[])
    sale = ESMMHead(Task(name="s", kind="binary", label="s", mean=0.002, parents=("click",)), 8, {"click": click})
    zero = torch.zeros(1, 8)
    output = click(zero, {}, {})
    assert click.predict(output, {}).item() == pytest.approx(0.1, rel=1e-5)
    with torch.no_grad():
        sale.tower.output.weight.zero_()
    assert sale.predict(sale(zero, {"click": output}, {}), {}).item() == pytest.approx(0.002, rel=1e-4)
    assert rate_logit(0.3, 0.2) == 0.0


def test_regression_predicts_on_the_labels_scale():
    task = Task(name="dwell", kind="regression", label="s", mean=60.0, scale=90.0)
    label = torch.tensor([[0.0], [5.0], [600.0]])
    for transform in ("none", "log1p"):
        head = RegressionHead(task, 8, {}, transform=transform)
        output = head(torch.zeros(3, 8), {}, {})
        perfect = Output(output.link(label))
        torch.testing.assert_close(head.predict(perfect, {}), label[:, 0], rtol=1e-5, atol=1e-4)
    assert (head.predict(Output(torch.full((1, 1), -50.0)), {}) >= 0).all()


def test_log_normal_labels_are_standardised_by_their_moments():
    generator = torch.Generator().manual_seed(0)
    label = torch.randn(200_000, 1, generator=generator).mul(0.8).add(4).exp() - 1
    task = Task(name="dwell", kind="regression", label="s", mean=label.mean().item(), scale=label.std().item())
    link = RegressionHead(task, 8, {}, transform="log1p")(torch.zeros(1, 8), {}, {}).link
    assert link(label).mean().item() == pytest.approx(0.0, abs=0.05)
    assert link(label).std().item() == pytest.approx(1.0, abs=0.05)


def test_ordinal_starts_with_equal_shares():
    head = OrdinalHead(Task(name="stars", kind="ordinal", label="s", classes=5), 8, {}, hidden=[])
    with torch.no_grad():
        head.tower.output.weight.zero_()
    output = head(torch.zeros(1, 8), {}, {})
    torch.testing.assert_close(output.logit.sigmoid(), torch.tensor([[0.8, 0.6, 0.4, 0.2]]))
    assert head.predict(output, {}).item() == pytest.approx(2.0)


def test_value_is_the_mean_of_the_zero_inflated_log_normal():
    head = ValueHead(Task(name="spend", kind="value", label="s"), 8, {}, hidden=[])
    spread = math.log(math.expm1(0.499))  # σ = 0.5, of which 0.001 is the floor
    prediction = head.predict(Output(torch.tensor([[0.0, 1.0, spread]])), {})
    assert prediction.item() == pytest.approx(0.5 * math.exp(1.0 + 0.125), rel=1e-5)


def test_restored_time_is_the_mean_of_an_exponential_also_with_wide_buckets():
    edges = torch.linspace(0, 8, 17, dtype=torch.float64)
    survival = torch.exp(-edges).clamp(max=1 - 1e-12)
    mean = 1 - math.exp(-8)  # E[min(y, 8)]
    assert restore(torch.logit(survival).unsqueeze(0), edges).item() == pytest.approx(mean, rel=0.03)


def test_position_bias_is_left_out_when_serving():
    head = PositionBiasHead(CLICK, 8, {}, position="slot", positions=3, drop_position=0.0)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([-1.0, -2.0, 7.0]))
    h, raw = torch.randn(4, 8), {"slot": torch.tensor([1.0, 2.0, 3.0, 9.0])}
    output, served = head(h, {}, raw), head(h, {}, {})
    torch.testing.assert_close((output.logit - served.logit)[:, 0], torch.tensor([0.0, -1.0, -2.0, -2.0]))
    torch.testing.assert_close(head.predict(output, raw), head.predict(served, {}))
    sale = ESMMHead(Task(name="s", kind="binary", label="s", parents=("click",)), 8, {"click": head})
    with_bias, without = sale(h, {"click": output}, raw), sale(h, {"click": served}, {})
    torch.testing.assert_close(sale.predict(with_bias, raw), sale.predict(without, {}))
    assert (with_bias.logit[1:] < without.logit[1:]).all()


def test_a_position_that_is_not_known_has_a_bias_of_its_own():
    head = PositionBiasHead(CLICK, 8, {}, position="slot", positions=3, drop_position=0.0)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([-1.0, -2.0, 7.0]))
    h = torch.randn(3, 8)
    output, served = head(h, {}, {"slot": torch.tensor([torch.nan, 0.0, 4.0])}), head(h, {}, {})
    torch.testing.assert_close((output.logit - served.logit)[:, 0], torch.tensor([7.0, 0.0, -2.0]))
    torch.testing.assert_close(head.predict(output, {}), head.predict(served, {}))


def test_positions_left_out_in_training_do_not_pull_the_first_place_down():
    """Clicks fall by the place; what is served must be the rate at the first, whatever share of places is left out."""
    torch.manual_seed(0)
    rows = 20_000
    place = torch.randint(1, 6, (rows,))
    rates = torch.tensor([0.3, 0.2, 0.1, 0.05, 0.02])
    clicks = (torch.rand(rows) < rates[place - 1]).float().unsqueeze(1)
    head = PositionBiasHead(CLICK, 1, {}, hidden=[], position="slot", positions=5, drop_position=0.5)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    h, raw = torch.ones(rows, 1), {"slot": place.float()}
    for _ in range(300):
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(head(h, {}, raw).logit, clicks).backward()
        optimizer.step()
    first = clicks[place == 1].mean().item()
    assert head.eval().predict(head(h[:1], {}, {}), {}).item() == pytest.approx(first, abs=0.01)


@pytest.mark.parametrize("name", ["dcmt", "escm2"])
def test_a_conditional_label_starts_at_its_own_rate(name):
    """Its mean is the rate among clicks already; divided by the click rate it would start far off."""
    click = BinaryHead(CLICK, 8, {}, hidden=[])
    task = Task(name="s", kind="binary", label="s", mean=0.2, observed_when="click == 1", parents=("click",))
    head = registry().resolve("head", name)(task, 8, {"click": click}, predicts="conditional")
    zero = torch.zeros(1, 8)
    with torch.no_grad():
        head.tower.output.weight.zero_()
    output = head(zero, {"click": click(zero, {}, {})}, {})
    assert head.predict(output, {}).item() == pytest.approx(0.2, rel=1e-5)
    assert head.mean == pytest.approx(0.02)
