"""Validation reports all problems at once, each with place, reason and hint; a valid recipe becomes a Config."""

from typing import Any

import pytest

from mtl_lightning.config import Component, Config, compose, dump, validate
from mtl_lightning.errors import ConfigError


def check(*pairs: str) -> Config:
    return validate(compose("ads", pairs).plain)


def problems(*pairs: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        check(*pairs)
    return [str(problem) for problem in error.value.problems]


def test_the_recipe_becomes_a_typed_config() -> None:
    config = check("weighter=pcgrad", "weighter.every=4", "optimizer.lr=1e-4", "trainer.max_epochs=2")
    assert config.weighter.name == "pcgrad"
    assert config.weighter.options["every"] == 4
    assert config.optimizer.lr == 1e-4
    assert config.trainer["max_epochs"] == 2
    assert [task.name for task in config.tasks] == ["click", "conversion", "dwell"]
    assert config.heads["conversion"].name == "esmm"
    assert config.losses["click"].name == "bce"
    assert config.features["history"].of == "item_id"  # type: ignore[attr-defined]
    assert config.split.column == "timestamp"  # the source's own, where the recipe is silent
    assert config.data.group == "user_id"


@pytest.mark.parametrize("pairs", [(), ("weighter=gradnorm",), ("split=user",), ("metrics.click=[auc]",)])
def test_the_plain_config_is_the_same_config_again(pairs: tuple[str, ...], tmp_path: Any) -> None:
    config = check(*pairs)
    again = validate(config.plain)
    assert again == config
    assert again.plain == config.plain
    path = tmp_path / "config.yaml"
    path.write_text(dump(config.plain), encoding="utf-8")
    assert validate(compose(str(path)).plain) == config


def test_defaults_of_constructors_are_filled_in() -> None:
    assert check().plain["heads"]["click"]["hidden"] == list(check().heads["click"].options["hidden"])
    assert "every" in check("weighter=pcgrad").weighter.options


@pytest.mark.parametrize(("encoder", "own"), [("din", {"attention": [8]}), ("transformer", {"init_scale": 0.05})])
def test_options_handed_on_to_a_base_are_options(encoder: str, own: dict[str, Any]) -> None:
    config = check(
        f"encoder={encoder}",
        "encoder.width=8",
        "encoder.step_dropout=0.2",
        *(f"encoder.{k}={v}" for k, v in own.items()),
    )
    base = check("encoder.width=8", "encoder.step_dropout=0.2").encoder.options
    assert config.encoder.options == {**base, **config.encoder.options}
    assert list(config.encoder.options)[: len(base)] == list(base)
    assert own.items() <= config.encoder.options.items()


def test_everything_is_told_at_once() -> None:
    lines = problems(
        "wieghter=famo",
        "weighter=pcgrd",
        "encoder.widht=3",
        "encoder.width=wide",
        "tasks.click.label=clik",
        "tasks.dwell.observed_when=click = 1",
        "features.price.transform=lg",
        "features.leak={kind: numeric, column: oracle_click}",
        "features.dwell=numeric",
        "features.history.of=itm_id",
        "features.device={kind: numeric, column: history}",
        "heads.click=regression",
        "metrics.click=[auc, mae]",
        "losses.dwel=mse",
        "optimizer=adamx",
        "split.column=time",
        "data.batch_size=0",
        "trainer.max_epoch=3",
        "trainer.strategy=fsdp",
        "trainer.logger=false",
        "seed=-1",
        "run.patience=none",
    )
    expected = [
        "wieghter: unknown section (did you mean 'weighter'?)",
        "features.price: transform is 'lg' (did you mean 'log'?)",
        "features.history.of: no feature 'itm_id' (did you mean 'item_id'?)",
        "data.batch_size: is 0, and must be at least 1",
        "encoder.widht: unknown option of encoder 'embedding' (did you mean 'width'?)",
        "encoder.width: expects an integer, not 'wide'",
        "weighter.name: no weighter is called 'pcgrd' (did you mean 'pcgrad'?)",
        "heads.click: serves tasks that are ",
        "losses.dwel: no task 'dwel' (did you mean 'dwell'?)",
        "metrics.click.1: serves tasks that are ",
        "optimizer.name: expects 'adamw' or 'adam' or 'sgd' or 'adagrad', not 'adamx' (did you mean 'adam'?)",
        "trainer.logger: can't be set in a recipe (the run directory's logs are always written)",
        "trainer.strategy: 'fsdp' is refused: FSDP ",
        "trainer.max_epoch: unknown option of Lightning's Trainer (did you mean 'max_epochs'?)",
        "seed: is -1, and must be at least 0 and below 2^32",
        "run.patience: expects an integer or null, not 'none'",
        "tasks.click.label: no column 'clik' (did you mean 'click'?)",
        "tasks.dwell.observed_when: 'click = 1' is not an expression (write == to compare)",
        "split.column: no column 'time' (did you mean 'timestamp'?)",
        "features.device: 'history' holds list<",
        "features.leak: leak: 'oracle_click' holds true probabilities (remove the feature (features.leak=null))",
        "features.dwell: leak: 'dwell' is the label of task 'dwell' (remove the feature (features.dwell=null))",
    ]
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["tasks.click.parents=[conversion]"], "tasks are each other's parents: click → conversion → click"),
        (["tasks.click.parents=[click]"], "tasks are each other's parents: click → click"),
        (["tasks.dwell.parents=[clik]"], "tasks.dwell.parents.0: no task 'clik' (did you mean 'click'?)"),
        (
            ["run.checkpoint_every=10x"],
            "run: checkpoint_every is 10x, and must be a number of steps that is at least 0, or a",
        ),
        (["run.checkpoint_every=-1"], "run: checkpoint_every is -1, and must be a number of steps"),
        (["run.checkpoint_every=true"], "run.checkpoint_every: expects an integer or a string"),
        (["tasks.dwell.parents=click"], "tasks.dwell.parents: expects a list of strings, not 'click' (write [click])"),
        (["tasks.values={kind: binary, label: click}"], "tasks.values: a task can't be called 'values'"),
        (["tasks.a-b={kind: binary, label: click}"], "tasks.a-b: a task can't be called 'a-b'"),
        (["tasks.x={kind: binry, label: click}"], "tasks.x.kind: no kind 'binry' of task (did you mean 'binary'?)"),
        (["tasks.x={kind: binary}"], "tasks.x.label: is required: a string"),
        (["tasks.x={kind: binary, label: click, mean: 3}"], "tasks.x.mean: unknown option of tasks"),
        (["features.x={column: price}"], "features.x.kind: is required"),
        (["features.elapsed=numeric"], "leak: 'elapsed' is known only after the event"),
        (["features.price={kind: numeric, column: history}"], "a number is needed (kind sequence or vector fits)"),
        (["features.history=categorical"], "one value per row is needed (kind sequence fits)"),
        (["features.price=sequence"], "a list or delimited text is needed"),
        (["features.history.of=price"], "features.history.of: 'price' is numeric (it must be categorical)"),
        (["split.by=given"], "split.by: the source has no splits of its own"),
        (["split.validation=0.8", "split.test=0.3"], "validation and test leave nothing to train on"),
        (["data.group=usr_id"], "data.group: no column 'usr_id' (did you mean 'user_id'?)"),
        (["source.rows=many"], "source.rows: expects an integer, not 'many'"),
        (["source=simulatr"], "source.name: no source is called 'simulatr' (did you mean 'simulator'?)"),
        (["source.scenario=adz"], "no scenario 'adz'"),
        (["weighter=pcgrad", "weighter.epz=1"], "weighter.epz: unknown option of weighter 'pcgrad'"),
        (["metrics.click=[auc, auc]"], "metrics.click.1: 'auc' is listed twice"),
        (["metrics.click=[auc, mtl-lightning/auc]"], "metrics.click.1: 'mtl-lightning/auc' is listed twice"),
        (["weighter=constant", "weighter.weights.absent=1"], "weighter.weights: no task 'absent'"),
        (["weighter=constant", "weighter.weights.click=-1", "seed=-1"], "weighter.weights.click: -1.0 is negative"),
        (["encoder=din", "encoder.widht=8"], "encoder.widht: unknown option of encoder 'din' (did you mean 'width'?)"),
        (["encoder=din", "encoder.pooling=sum"], "encoder.pooling: expects 'mean' or 'sqrt', not 'sum'"),
        (["optimizer.lr=-1"], "optimizer.lr: is -1.0, and must be at least 0"),
        (["optimizer.betas=[0.9]"], "optimizer.betas: expects a list of 2"),
        (["optimizer.betas=[0.9, 2]"], "optimizer.betas: are [0.9, 2.0]"),
        (["trainer.strategy=deepspeed_stage_2"], "trainer.strategy: 'deepspeed_stage_2' is refused: DeepSpeed"),
        (["trainer.devices=two"], "trainer.devices: expects a number, a list of numbers or 'auto', not 'two'"),
        (["trainer.accelerator=cpuu"], "trainer.accelerator: no accelerator 'cpuu' (did you mean 'cpu'?)"),
        (["trainer.accelerator=mps"], "trainer.accelerator: Apple's GPUs can't compute in float64"),
        (["trainer.precision=17"], "trainer.precision: expects"),
        (["trainer.precision=64"], "trainer.precision: 64 would convert ids and labels, too"),
        (["trainer.max_epochs=-3"], "trainer.max_epochs: is -3, and must be at least 1 (-1 for no limit)"),
        (["trainer.max_epochs=-1", "optimizer.schedule=linear"], "optimizer.schedule: 'linear' needs a last step"),
        (["trainer.max_epochs=0"], "trainer.max_epochs: is 0, and must be at least 1"),
        (
            ["tasks.conversion.observed_when=click == 1"],
            "heads.conversion: learns on all rows, but observed_when leaves out the rows without 'click'",
        ),
        (
            ["tasks.dwell.label=minimum(dwell / price, 1)"],
            "part of the label of task 'dwell' (remove the feature (features.price=null), or data.accept=[leak:price:",
        ),
        (
            ["features.click=categorical", "data.accept=[leak:click:click]"],
            "features.click: leak: 'click' is the label of task 'click'",
        ),
        (["trainer=fast"], "trainer: expects a mapping, not 'fast'"),
        (["weighter=null"], "weighter: is required"),
        (["seed=1.5"], "seed: expects an integer, not 1.5"),
    ],
)
def test_one_problem(pairs: list[str], expected: str) -> None:
    assert any(expected in problem for problem in problems(*pairs)), problems(*pairs)


@pytest.mark.parametrize(
    "pair", ["weighter._target_=os.system", "features.price._target_=a.b", "callbacks=[{_target_: x}]"]
)
def test_a_recipe_cannot_run_code(pair: str) -> None:
    assert any("_target_: is refused" in problem for problem in problems(pair))


def test_a_feature_may_read_a_part_of_a_label_that_is_known_before() -> None:
    config = check("tasks.dwell.label=minimum(dwell / price, 1)", "data.accept=[leak:price:dwell]")
    assert config.features["price"].columns("price") == ("price",)
    assert check("heads.conversion=escm2", "tasks.conversion.observed_when=click == 1").tasks


def test_a_parent_may_stand_below_its_child() -> None:
    plain = compose("ads").plain
    plain["tasks"] = {name: plain["tasks"][name] for name in ("conversion", "dwell", "click")}
    assert [task.name for task in validate(plain).tasks] == ["dwell", "click", "conversion"]


def test_a_silent_recipe_takes_what_the_source_suggests() -> None:
    plain = compose("ads").plain
    del plain["features"], plain["tasks"]
    config = validate(plain)
    assert [task.name for task in config.tasks] == ["click", "conversion", "dwell"]
    assert "item_id" in config.features
    assert "oracle_click" not in config.features


def test_safe_conversions() -> None:
    config = check("optimizer.lr='1e-3'", "data.batch_size=1e3", "heads.click.hidden=[16.0]", "optimizer.eps=1")
    assert config.optimizer.lr == 1e-3
    assert config.data.batch_size == 1000
    assert type(config.optimizer.eps) is float
    assert list(config.heads["click"].options["hidden"]) == [16]


def test_components_of_a_config_build_what_they_name() -> None:
    config = check("metrics.click={name: auc}")
    assert config.metrics["click"] == (Component("auc", config.metrics["click"][0].options),)
