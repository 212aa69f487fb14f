"""The coupon scenario: oracles are the means of what is drawn, and selection biases a comparison of the arms."""

import numpy as np
import pytest

from mtl_lightning.data.sources.simulator import Simulator

SIZE = {"scenario": "coupons", "rows": 40_000, "users": 300, "items": 100}


def arms(frame):
    treated = frame["treatment"] == 1
    return frame["purchase"][treated].mean() - frame["purchase"][~treated].mean()


@pytest.mark.parametrize("selection", [0.0, 1.0])
def test_oracles_are_means(selection):
    frame = Simulator(**SIZE, selection=selection).rows().to_pandas()
    for column, oracle in (("purchase", "oracle_purchase"), ("treatment", "oracle_propensity")):
        for rows in np.array_split(frame[oracle].to_numpy().argsort(), 4):
            part = frame.iloc[rows]
            assert part[column].mean() == pytest.approx(part[oracle].mean(), abs=0.02)
    effect = frame["oracle_effect"]
    assert (effect < 0).mean() > 0.1
    if selection:
        assert arms(frame) > effect.mean() + 0.05
    else:
        assert arms(frame) == pytest.approx(effect.mean(), abs=0.02)
        high = frame[effect > effect.median()]
        assert arms(high) == pytest.approx(high["oracle_effect"].mean(), abs=0.02)
