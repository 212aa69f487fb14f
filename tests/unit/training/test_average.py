"""The moving average of dense weights: its equation, and who uses it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from mtl_lightning.build import build_data, module_from_config
from mtl_lightning.config import compose, validate
from mtl_lightning.errors import ConfigError, MtlError
from mtl_lightning.export.graph import trace
from mtl_lightning.runs.resumption import check_saved_module
from mtl_lightning.training.average import WeightAverage
from mtl_lightning.training.module import MultiTaskModule
from mtl_lightning.training.optimizer import OptimizerConfig

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
SMALL = ("source.rows=2000", "data.batch_size=128", "weighter=sum", "architecture=shared_bottom")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def build(cache: Path, average: float | str = 0.9, *more: str) -> tuple[MultiTaskModule, Any]:
    plain = compose("ads", [*SMALL, f"data.cache_dir={cache}", f"optimizer.average={average}", *more]).plain
    config = validate(plain)
    data = build_data(config)
    data.prepare()
    torch.manual_seed(0)
    return module_from_config(config, data.schema), data


class Trace(Callback):
    """Weights after each step, those that a validation sees, and its score."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.validated: list[dict[str, torch.Tensor]] = []

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.steps.append(self.copy(pl_module))

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == len(self.steps):
            self.steps.append(self.copy(pl_module))

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.validated.append(self.copy(pl_module))

    @staticmethod
    def copy(module: Any) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}


def averaged(steps: list[dict[str, torch.Tensor]], name: str, decay: float) -> torch.Tensor:
    value = steps[0][name].double()
    for n, weights in enumerate(steps[1:]):
        d = min(decay, (1 + n) / (10 + n))
        value = d * value + (1 - d) * weights[name].double()
    return value


def test_it_is_the_recursion_of_its_docstring() -> None:
    weight = nn.Parameter(torch.randn(3, 2, dtype=torch.float64))
    average = WeightAverage({"w": weight}, 0.3)
    steps = [{"w": weight.detach().clone()}]
    for _ in range(20):
        with torch.no_grad():
            weight.add_(torch.randn(3, 2, dtype=torch.float64))
        steps.append({"w": weight.detach().clone()})
        average.update()
    torch.testing.assert_close(average.averages["w"], averaged(steps, "w", 0.3), rtol=1e-12, atol=1e-12)


def test_two_swaps_restore_every_bit_in_the_same_storage() -> None:
    weight = nn.Parameter(torch.randn(50))
    average = WeightAverage({"w": weight}, 0.9)
    with torch.no_grad():
        weight.mul_(3)
    average.update()
    before, place, mean = weight.detach().clone(), weight.data_ptr(), average.averages["w"].clone()
    average.swap()
    assert torch.equal(weight, mean)
    assert torch.equal(average.weights["w"], before)
    average.swap()
    assert torch.equal(weight, before)
    assert weight.data_ptr() == place


@pytest.mark.parametrize("accumulate", [1, 3])
def test_validation_and_the_end_have_the_average_and_training_does_not(cache: Path, accumulate: int) -> None:
    module, data = build(cache)
    plain, _ = build(cache, average=0.0)
    seen, without = Trace(), Trace()
    options = {"max_epochs": 2, "accelerator": "cpu", "num_sanity_val_steps": 0, "accumulate_grad_batches": accumulate}
    Trainer(callbacks=[seen], **options, **QUIET).fit(module, data)
    Trainer(callbacks=[without], **options, **QUIET).fit(plain, build(cache)[1])

    names = set(module.dense_parameters())
    tables = {f"network.encoder.{name}" for name, _ in module.network.encoder.named_parameters()} - names
    assert tables
    for weights, expected in zip(seen.steps, without.steps, strict=True):
        assert all(
            torch.equal(weights[name], expected[name]) for name in names | tables
        )  # the step does not see averages
    end = module.state_dict()
    half = (len(seen.steps) - 1) // 2
    for name in names:
        torch.testing.assert_close(end[name].double(), averaged(seen.steps, name, 0.9), rtol=1e-5, atol=1e-6)
        first = averaged(seen.steps[: half + 1], name, 0.9)
        torch.testing.assert_close(seen.validated[0][name].double(), first, rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(end[name], seen.steps[-1][name]) for name in names)
    assert all(torch.equal(end[name], seen.steps[-1][name]) for name in tables)


@pytest.mark.parametrize(("schedule", "decay"), [("constant", 0.999), ("linear", 0.0)])
def test_auto_averages_where_the_rate_is_constant(cache: Path, schedule: str, decay: float) -> None:
    ends = []
    for average in ("auto", decay):
        module, data = build(cache, average, f"optimizer.schedule={schedule}")
        Trainer(max_steps=3, accelerator="cpu", limit_val_batches=0, **QUIET).fit(module, data)
        ends.append(module.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    assert OptimizerConfig(average="auto", schedule=schedule).average_decay == decay  # type: ignore[arg-type]


def test_checkpoints_hold_averages_as_weights_and_resume_the_others(cache: Path, tmp_path: Path) -> None:
    module, data = build(cache)
    saved: dict[str, Any] = {}

    class Save(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
            trainer.save_checkpoint(tmp_path / "last.ckpt")
            trainer.save_checkpoint(tmp_path / "best.ckpt", weights_only=True)
            saved["now"] = Trace.copy(pl_module)

    options = {"max_epochs": 1, "accelerator": "cpu", "num_sanity_val_steps": 0}
    Trainer(callbacks=[Save()], **options, **QUIET).fit(module, data)
    last, best = (torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("last", "best"))
    for name in module.dense_parameters():
        assert torch.equal(last["state_dict"][name], module.state_dict()[name])  # the end of fit is the average
        assert torch.equal(best["state_dict"][name], last["state_dict"][name])
        assert torch.equal(last["mtl_lightning"]["trained"]["weights"][name], saved["now"][name])
    assert last["mtl_lightning"]["trained"]["updates"] == last["global_step"]
    assert "trained" not in best["mtl_lightning"]

    for average in (0.9, 0.0):  # a run without an average resumes from the weights of the optimizer, too
        resumed, again = build(cache, average)
        seen = Trace()
        more = {**options, "max_epochs": 2}
        Trainer(callbacks=[seen], **more, **QUIET).fit(resumed, again, ckpt_path=tmp_path / "last.ckpt")
        assert all(torch.equal(seen.steps[0][name], saved["now"][name]) for name in module.dense_parameters())

    tested, again = build(cache)
    Trainer(**options, **QUIET).test(tested, again, ckpt_path=tmp_path / "last.ckpt", verbose=False)
    assert all(torch.equal(tested.state_dict()[n], last["state_dict"][n]) for n in module.dense_parameters())
    program, _ = trace(tested.network.eval())
    exported = program.state_dict
    names = [name for name in exported if f"network.{name.removeprefix('network.')}" in module.dense_parameters()]
    assert names
    for name in names:
        assert torch.equal(exported[name], last["state_dict"][f"network.{name.removeprefix('network.')}"])


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_outside_0_to_1_is_refused(decay: float) -> None:
    with pytest.raises(ConfigError, match=r"optimizer.average: is .* must be at least 0 and below 1"):
        validate(compose("ads", [f"optimizer.average={decay}"]).plain)


def test_a_damaged_record_of_weights_is_refused(cache: Path, tmp_path: Path) -> None:
    module, data = build(cache)
    trainer = Trainer(max_steps=2, accelerator="cpu", **QUIET)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    checkpoint["mtl_lightning"]["trained"] = {"weights": {"network.x": [1.0]}, "updates": -1}
    with pytest.raises(MtlError, match=r"mtl_lightning.trained"):
        check_saved_module(checkpoint)
