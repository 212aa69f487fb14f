"""Areas of all groups agree with scikit-learn."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mtl_lightning.metrics.ranking.group_areas import areas_by_group

ROW = st.tuples(
    st.sampled_from([-3.5, -0.0, 0.0, 0.25, 0.75, 1.0]) | st.floats(0, 1, width=32), st.booleans(), st.integers(0, 4)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ROW, max_size=40))
def test_areas_are_those_of_scikit_learn(drawn):
    rows = torch.tensor([[score, label, 1.0] for score, label, _ in drawn], dtype=torch.float64).reshape(-1, 3)
    group = torch.tensor([user for _, _, user in drawn], dtype=torch.int64)
    area, pairs, size = areas_by_group(rows, group)
    for index, user in enumerate(group.unique().tolist()):
        score, label, _ = rows[group == user].unbind(1)
        assert size[index] == len(score)
        if label.unique().numel() == 2:
            assert area[index].item() == pytest.approx(roc_auc_score(label, score), abs=1e-12)
        else:
            assert pairs[index] == 0
