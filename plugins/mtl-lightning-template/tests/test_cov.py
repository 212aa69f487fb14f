"""The weighter keeps the contract of weighters, gives the paper's numbers, and is found by its recipe."""

import numpy as np
import torch
from mtl_lightning.config import compose, validate
from mtl_lightning.plugins import registry
from mtl_lightning.testing import WeighterContract
from mtl_lightning.training.step import Step

from mtl_lightning_template.cov import Cov


class TestCov(WeighterContract):
    component = Cov
    options = {"warmup": 1}


def test_weights_are_those_of_the_paper() -> None:
    losses = np.random.default_rng(0).uniform(0.2, 2.0, (12, 3))
    weighter = Cov(("a", "b", "c"))
    for index, row in enumerate(losses):
        z = torch.ones(2, 2, requires_grad=True, dtype=torch.float64)
        weighter(Step(torch.from_numpy(row) * z.mean(), z, tasks=weighter.tasks, index=index, seed=0))
    means = np.cumsum(losses, 0) / np.arange(1, 13)[:, None]
    ratios = np.vstack([np.ones(3), losses[1:] / means[:-1]])
    variation = ratios.std(0) / ratios.mean(0)
    np.testing.assert_allclose(list(weighter.report().values()), variation / variation.sum(), rtol=1e-10)


def test_the_plugin_supplies_the_weighter_and_a_recipe_that_chooses_it() -> None:
    assert registry().resolve("weighter", "mtl-lightning-template/cov") is Cov
    config = validate(compose("mtl-lightning-template/ads_cov").plain)
    assert config.weighter.name == "cov"
