"""A loss that can't read a head's output is refused before anything is built."""

import pytest

from mtl_lightning.config import compose, validate
from mtl_lightning.errors import ConfigError
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.builtin import HEADS, LOSSES


def test_every_head_has_a_loss_that_reads_it():
    for name in HEADS:
        loss = registry().resolve("loss", registry().resolve("head", name).loss)
        assert loss.heads is None or name in loss.heads


def test_losses_name_heads_that_exist():
    named = {head for name in LOSSES for head in registry().resolve("loss", name).heads or ()}
    assert named <= set(HEADS)


@pytest.mark.parametrize(("head", "loss"), [("binary", "escm2"), ("count", "mse"), ("value", "huber"), ("d2q", "mse")])
def test_a_mismatch_is_declared(head, loss):
    assert head not in registry().resolve("loss", loss).heads


def test_a_recipe_that_pairs_them_wrongly_is_refused():
    with pytest.raises(ConfigError, match="escm2 reads the head escm2, and 'click' has binary"):
        validate(compose("ads", ["losses.click=escm2"]).plain)
