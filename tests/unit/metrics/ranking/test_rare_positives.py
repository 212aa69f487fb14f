"""GAUC by comparing rows with few positives equals GAUC by sorting."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.interfaces import Target, Task
from mtl_lightning.metrics.ranking.gauc import GAUC
from mtl_lightning.metrics.ranking.group_areas import areas_by_group
from mtl_lightning.metrics.ranking.rare_positives import sum_areas

TASK = Task(name="click", kind="binary", label="click")
ROW = st.tuples(
    st.sampled_from([-3.5, -0.0, 0.0, 0.25, 0.75, 1.0]) | st.floats(0, 1, width=32), st.booleans(), st.integers(0, 4)
)
CUT, CHUNK = st.lists(st.integers(0, 40), max_size=5), st.integers(1, 50)


def gauc(score, label, group, **options):
    metric = GAUC(TASK, **options)
    known = torch.ones(len(score), dtype=torch.bool)
    metric.update(score, Target(label=label.unsqueeze(1), mask=known, group=group))
    return metric.compute().item()


@settings(max_examples=300, deadline=None)
@given(drawn=st.lists(ROW, max_size=40), equal=st.booleans(), cuts=CUT, most=st.integers(1, 4), chunk=CHUNK)
def test_areas_by_comparing_are_those_by_sorting(drawn, equal, cuts, most, chunk):
    rows = torch.tensor([[score, label, 1.0] for score, label, _ in drawn], dtype=torch.float64).reshape(-1, 3)
    group = torch.tensor([user for _, _, user in drawn], dtype=torch.int64)
    columns = [part.tensor_split(sorted(cuts)) for part in (rows[:, 0].float(), rows[:, 1], rows[:, 2], group)]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"MOST_POSITIVES": most, "CHUNK": chunk, "SORTING_COST": 1000}.items():
            patch.setattr(f"mtl_lightning.metrics.ranking.rare_positives.{name}", value)
        result = sum_areas(list(zip(*columns, strict=True)), equal=equal)
    area, pairs, size = areas_by_group(rows, group)
    if result is None:  # there is nothing to compare, or all would be sorted
        users = [group[rows[:, 1] == 1].tolist().count(user) for user in group.unique().tolist()]
        assert not any(count <= most for count, pair in zip(users, pairs, strict=True) if pair > 0)
        return
    share = (pairs > 0).double() if equal else torch.where(pairs > 0, size, 0.0)
    assert result[0].item() == pytest.approx((area.nan_to_num() * share).sum().item(), abs=1e-12)
    assert result[1] == share.sum()


def test_rows_of_many_positives_are_sorted_in_either_way():
    score = torch.arange(60.0) % 7
    rows = (score, (torch.arange(60) % 3 == 0).float(), torch.ones(60), torch.arange(60) // 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtl_lightning.metrics.ranking.rare_positives.SORTING_COST", 0)
        assert sum_areas([rows], equal=False) is None  # the metric then sorts all rows
    assert sum_areas([rows], equal=False) is None  # each group has more positives than are compared


def test_kept_columns_keep_no_batch_with_them():
    metric = GAUC(TASK)
    labels = torch.zeros(10, 5)
    known = torch.ones(10, dtype=torch.bool)
    metric.update(torch.rand(10), Target(label=labels[:, 2:3], mask=known, group=torch.arange(10)))
    for remaining in (metric.scores, metric.labels, metric.groups):
        assert remaining[0].untyped_storage().nbytes() == 10 * remaining[0].element_size()


@pytest.mark.parametrize("rate", [0.02, 0.3])
@pytest.mark.parametrize("users", ["rows", "equal"])
def test_all_ways_give_one_value(users, rate):
    generator = torch.Generator().manual_seed(0)
    score = torch.rand(5000, generator=generator).mul(50).round().div(50)
    label = (torch.rand(5000, generator=generator) < rate + rate * score).float()
    group = torch.randint(0, 300, (5000,), generator=generator)
    fast = gauc(score, label, group, users=users)
    # Groups whose numbers are too large for tables are sorted.
    assert gauc(score, label, group + 2**40, users=users) == pytest.approx(fast, abs=1e-12)
