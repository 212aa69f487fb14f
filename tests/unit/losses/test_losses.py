"""Promises of all losses about unknown rows."""

import math

import pytest
import torch
from loss_cases import make_loss, make_target

from mtl_lightning.batch import Output, Target
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.builtin import LOSSES

LOG2 = math.log(2)


def output_for(name, rows, generator):
    """An output with the shapes that the loss reads; every tensor needs a gradient."""
    width = {"ce": 3, "coral": 2, "ziln": 3, "cread": 4}.get(name, 1)
    draw = lambda k: torch.randn(rows, k, generator=generator, dtype=torch.float64).requires_grad_()  # noqa: E731
    extra = {}
    if name in ("escm2", "dcmt"):
        extra = {key: draw(1) for key in ("conditional", "imputation", "counterfactual")}
    if name == "cread":
        extra = {"edges": torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64), "restored": draw(1)}
    if name == "jrc":
        extra = {"energies": draw(2)}
    if name == "tpm":
        values = torch.tensor([0.4, 1.2, 2.5, 4.0], dtype=torch.float64)
        extra = {"leaf": draw(4), "edges": torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), "values": values}
    if name in ("delayed_feedback", "delay_windows", "esdfm"):
        times = torch.rand(2, rows, 1, generator=generator, dtype=torch.float64)
        own = {"delayed_feedback": ("hazard",), "delay_windows": (), "esdfm": ("late", "never")}[name]
        extra = {key: draw(1) for key in own} | {"delay": times[0], "elapsed": times[0] + times[1]}
        extra |= {"windows": torch.tensor([0.5])} if name == "delay_windows" else {}
    if name in ("dragonnet", "uplift", "x_learner"):
        extra = {"treatment": torch.arange(rows)[:, None] % 2.0, "propensity": draw(1), "effects": draw(2)}
        chosen = {"dragonnet": ("propensity",), "uplift": (), "x_learner": ("propensity", "effects")}[name]
        extra = {key: extra[key] for key in ("treatment", *chosen)}
        return Output(draw(2), extra=extra | ({"epsilon": torch.tensor([0.1])} if name == "dragonnet" else {}))
    if name == "pinball":
        return Output(draw(3), extra={"levels": torch.tensor([0.2, 0.5, 0.8])})
    if name == "d2q":
        extra = {
            "quantile": draw(1),
            "table": draw(4),
            "levels": torch.tensor([0.1, 0.3, 0.6, 0.9]),
            "unit": torch.tensor(2.0),
        }
        return Output(draw(1), extra=extra, link=lambda label: label / 2)
    return Output(draw(width), extra=extra)


def leaves(output):
    return [x for x in (output.logit, *output.extra.values()) if x.requires_grad]


def cases():
    for name in sorted(LOSSES):
        yield name, sorted(registry().resolve("loss", name).kinds)[0]


def evaluate(name, kind, output, goal):
    if name == "distilled":
        goal.raw = {"teacher": 0.2 + 0.5 * goal.label[:, 0]}
    parents = {}
    if name in ("escm2", "dcmt"):
        clicks = Target(label=torch.ones_like(goal.label), mask=goal.mask, count=goal.count, weight=goal.weight)
        parents = {"click": (Output(torch.zeros_like(output.logit)), clicks)}
    return make_loss(name, kind, ("click",) if parents else ())(output, goal, parents)


@pytest.mark.parametrize(("name", "kind"), list(cases()))
def test_unknown_rows_have_exactly_no_gradient_and_no_value(name, kind):
    generator = torch.Generator().manual_seed(0)
    output = output_for(name, 6, generator)
    mask = [True, False, True, True, False, True]
    goal = make_target([1, 0, 0, 1, 0, 1], mask, group=torch.zeros(6, dtype=torch.int64))
    value = evaluate(name, kind, output, goal)
    value.backward()
    for leaf in leaves(output):
        if leaf.grad is not None:
            assert (leaf.grad[~goal.mask] == 0).all()
    # The same with infinities in the unknown rows.
    wild = output_for(name, 6, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for leaf in leaves(wild):
            leaf[1], leaf[4] = torch.inf, torch.nan
    again = evaluate(name, kind, wild, goal)
    again.backward()
    torch.testing.assert_close(again, value)
    for leaf, reference in zip(leaves(wild), leaves(output), strict=True):
        if reference.grad is not None:
            torch.testing.assert_close(leaf.grad, reference.grad)


@pytest.mark.parametrize(("name", "kind"), list(cases()))
def test_parts_of_a_batch_add_up_to_the_whole(name, kind):
    """Two processes' losses, each divided by half the global count, have the whole batch's loss as their mean."""
    generator = torch.Generator().manual_seed(1)
    output = output_for(name, 6, generator)
    goal = make_target([1, 0, 0, 1, 0, 1], [True, True, True, False, True, True], group=torch.arange(6))
    whole = evaluate(name, kind, output, goal)
    halves = []
    for rows in (slice(0, 3), slice(3, 6)):
        cut = lambda x: x[rows] if x.shape[:1] == (6,) else x  # noqa: B023, E731
        part = Output(cut(output.logit), extra={key: cut(x) for key, x in output.extra.items()}, link=output.link)
        halves.append(evaluate(name, kind, part, Target(
            label=goal.label[rows], mask=goal.mask[rows], group=goal.group[rows], count=torch.tensor(5 / 2.0),
        )))  # fmt: skip
    torch.testing.assert_close(sum(halves) / 2, whole)


@pytest.mark.parametrize(("name", "kind"), [case for case in cases() if case[0] not in ("jrc", "listwise", "pairwise")])
def test_sample_weights_count_like_copies(name, kind):
    generator = torch.Generator().manual_seed(2)
    output = output_for(name, 3, generator)
    index = torch.tensor([0, 1, 1, 1, 2])
    copied = Output(
        output.logit[index],
        extra={key: x[index] if x.shape[:1] == (3,) and key != "levels" else x for key, x in output.extra.items()},
        link=output.link,
    )
    groups = torch.arange(3)
    weighted = evaluate(name, kind, output, make_target([1, 0, 1], weight=torch.tensor([1.0, 3.0, 1.0]), group=groups))
    plain = evaluate(name, kind, copied, make_target([1, 0, 0, 0, 1], group=groups[index]))
    torch.testing.assert_close(weighted, plain)
