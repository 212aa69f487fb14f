"""Validation of a composed recipe: a :class:`Config`, or one error that lists all problems."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import Any

from mtl_lightning.config.choices import check_fields, check_heads, check_losses, check_metrics
from mtl_lightning.config.draft import Draft
from mtl_lightning.config.inputs import check_features, check_source, check_split, check_tasks
from mtl_lightning.config.layers import expand
from mtl_lightning.config.leaks import check_columns
from mtl_lightning.config.limits import check_limits
from mtl_lightning.config.lookups import check_lookups
from mtl_lightning.config.record import Component, Config, DataConfig, RunConfig
from mtl_lightning.config.slices import check_slices
from mtl_lightning.config.trainer import check_trainer
from mtl_lightning.data.features.build import option_name
from mtl_lightning.data.quality.findings import acceptable
from mtl_lightning.data.targets.tasks import FITTED
from mtl_lightning.errors import ConfigError, MtlError, Problem, did_you_mean
from mtl_lightning.plugins import registry as installed
from mtl_lightning.plugins.names import Registry
from mtl_lightning.schema import Task
from mtl_lightning.training.optimizer import OptimizerConfig
from mtl_lightning.validation.values import MismatchError, coerce
from mtl_lightning.validation.values import plain as to_plain

SECTIONS = (
    "source", "split", "features", "tasks", "data", "encoder", "architecture", "heads", "losses", "metrics", "weighter",
    "optimizer", "trainer", "seed", "run",
)  # fmt: skip
"""Sections of a recipe, in the order of ``config.yaml``."""


def validate(plain: Mapping[str, Any], registry: Registry | None = None, *, rows: bool = True) -> Config:
    """Check a composed recipe: names, options, types, tasks, columns, leaks, trainer.

    Options are checked against the constructors of the chosen components. The source's schema is read if possible, but
    none of its rows.

    Args:
        plain: Result of :func:`compose`, or plain containers of the same form.
        registry: Where names are resolved; the installed plugins if None.
        rows: Whether the source's rows are needed. Otherwise a source that can't be read is not a problem.

    Raises:
        ConfigError: With all problems.
        LimitError: If the recipe is too large or too deep, before or after defaults are filled in.

    Example:
        >>> from mtl_lightning.config import compose
        >>> validate(compose("ads", ["weighter=pcgrad"]).plain).weighter.name
        'pcgrad'
    """
    check_limits(plain, "recipe")
    problems: list[Problem] = []
    draft = Draft(
        plain=_without_targets(expand(plain), "", problems), registry=registry or installed(), problems=problems
    )
    for key in draft.plain:
        if key not in SECTIONS:
            draft.problem(str(key), "unknown section", did_you_mean(str(key), SECTIONS, listing=len(SECTIONS)))
    source, raw = check_source(draft, rows)
    split = check_split(draft, raw)
    check_features(draft, raw)
    tasks = check_tasks(draft, raw)
    data = draft.record("data", DataConfig, draft.section("data"))
    data = _executor(draft, data)
    _accepted(draft, data)
    _per_request(draft, data)
    parts = {kind: _chosen(draft, kind) for kind in ("encoder", "architecture", "weighter")}
    _weighter(draft, parts["weighter"], tasks)
    _preferences(draft, parts["weighter"])
    heads = check_heads(draft)
    losses, metrics = check_losses(draft, heads), check_metrics(draft)
    check_fields(draft)
    optimizer = _optimizer(draft)
    trainer = check_trainer(draft)
    seed = _seed(draft)
    run = draft.record("run", RunConfig, draft.section("run"))
    run = _loggers(draft, run)
    group = data.group if data is not None and data.group is not None else raw.group if raw is not None else None
    split = check_slices(draft, run.slices if run is not None else (), raw, split, group)
    lookups = check_lookups(draft, raw, data.lookup if data is not None else {}, rows=rows)
    accept, request = (data.accept, data.request) if data is not None else ((), ())
    check_columns(draft, raw, split, group, accept, lookups, request)
    if draft.problems:
        raise ConfigError(draft.problems)
    sections: dict[str, Any] = {
        "source": source,
        "features": draft.features,
        "tasks": tasks,
        "split": split,
        "data": data and replace(data, group=group),
        **parts,
        "heads": {task.name: heads[task.name] for task in tasks},
        "losses": {task.name: losses[task.name] for task in tasks},
        "metrics": {task.name: metrics[task.name] for task in tasks},
        "optimizer": optimizer,
        "trainer": trainer,
        "seed": seed,
        "run": run,
    }
    page = _page(sections, draft.registry)
    check_limits(page, "recipe, defaults filled in")  # opening the run reads it again
    return Config(**sections, raw=tuple(sorted(set(draft.columns.values()))), plain=page)


def _per_request(draft: Draft, data: DataConfig | None) -> None:
    """Features that are said to be constant within a request exist, and there are requests."""
    for name in (data.per_request or ()) if data is not None else ():
        if data is not None and not data.request:
            draft.problem("data.per_request", "there are no requests", "set data.request to their columns")
            return
        if draft.features and name not in draft.features:
            draft.problem("data.per_request", f"no feature {name!r}", did_you_mean(name, draft.features))


def _without_targets(value: Any, path: str, problems: list[Problem]) -> Any:
    """The recipe without ``_target_`` keys. Each one is a problem, since a recipe must not be able to run code."""
    if isinstance(value, list | tuple):
        return [_without_targets(item, f"{path}.{i}", problems) for i, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    remaining = {}
    for key, item in value.items():
        here = f"{path}.{key}" if path else str(key)
        if key == "_target_":
            reason = "is refused: a recipe names components and can't run code"
            problems.append(Problem(here, reason, "use name, and a plugin for components of your own"))
        else:
            remaining[key] = _without_targets(item, here, problems)
    return remaining


def _chosen(draft: Draft, kind: str) -> Component | None:
    if draft.plain.get(kind) is None:
        draft.problem(kind, "is required", "known: " + ", ".join(draft.registry.names(kind)))
        return None
    return draft.component(kind, kind, draft.plain[kind])


def _weighter(draft: Draft, chosen: Component | None, tasks: Sequence[Task]) -> None:
    """Construct the weighter, which is cheap: only its constructor knows whether its options fit these tasks."""
    if chosen is None or any(problem.path.split(".")[0] in ("weighter", "tasks") for problem in draft.problems):
        return
    try:
        draft.classes["weighter"](tuple(task.name for task in tasks), **chosen.options)
    except MtlError as error:
        draft.problems.append(Problem.from_error(error, "weighter"))


def _preferences(draft: Draft, weighter: Component | None) -> None:
    """Check that features of preferences list the recipe's tasks, and that a weighter that chooses them has one."""
    listed = {name: tasks for name, feature in draft.features.items() if (tasks := feature.preferred())}
    names = ", ".join(draft.tasks)
    for name, tasks in listed.items():
        if {*tasks} != draft.tasks.keys():
            draft.problem(f"features.{name}.tasks", f"are {', '.join(tasks)}", f"list the recipe's tasks: {names}")
    kind: Any = draft.classes.get("weighter")
    if weighter is not None and kind.chooses_preferences and not listed:
        hint = f"set features.preference={{kind: preference, tasks: [{names}]}}"
        draft.problem("weighter.name", f"{weighter.name} needs a feature of kind preference", hint)


def _optimizer(draft: Draft) -> OptimizerConfig | None:
    config: OptimizerConfig | None = draft.record("optimizer", OptimizerConfig, draft.section("optimizer"))
    if config is not None:
        for name in ("lr", "table_lr", "weight_decay", "table_weight_decay", "momentum", "eps", "warmup_steps"):
            if not getattr(config, name) >= 0:
                draft.problem(f"optimizer.{name}", f"is {getattr(config, name)}, and must be at least 0")
        if not all(0 <= beta < 1 for beta in config.betas):
            draft.problem("optimizer.betas", f"are {list(config.betas)}, and must be at least 0 and below 1")
    return config


def _accepted(draft: Draft, data: DataConfig | None) -> None:
    names = acceptable(draft.features, draft.tasks)
    for name in data.accept if data is not None else ():
        if name not in names:
            hint = did_you_mean(name, names) or "leak:<feature>:<task> or funnel:<task>"
            draft.problem("data.accept", f"no finding can be called {name!r}", hint)


def _executor(draft: Draft, data: DataConfig | None) -> DataConfig | None:
    """The settings of the data with its executor as a component, whose ``workers`` are ``data.workers``."""
    if data is None:
        return None
    path, spec = "data.executor", data.executor
    given = {"name": spec} if isinstance(spec, str) else spec
    if data.workers is not None and isinstance(given, Mapping):
        given = {**given, "workers": data.workers}
    return replace(data, executor=draft.component(path, "executor", given), workers=None)


def _loggers(draft: Draft, run: RunConfig | None) -> RunConfig | None:
    """The settings of the run with its loggers and its launcher as components."""
    if run is None:
        return None
    chosen: list[Component] = []
    for i, spec in enumerate(run.loggers):
        path = f"run.loggers.{i}"
        if (logger := draft.component(path, "logger", spec)) is None:
            continue
        if logger.name in (other.name for other in chosen):
            draft.problem(path, f"{logger.name} is chosen twice")
        needs = getattr(draft.classes[path], "needs", None)
        if needs is not None and find_spec(needs) is None:
            draft.problem(path, f"needs the package {needs}", f"pip install 'mtl-lightning[{needs}]'")
        chosen.append(logger)
    launcher = draft.component("run.launcher", "launcher", run.launcher) if run.launcher is not None else None
    return replace(run, loggers=tuple(chosen), launcher=launcher)


def _seed(draft: Draft) -> int:
    seed = draft.plain.get("seed", 0)
    try:
        number: int = coerce(seed, int)
    except MismatchError as error:
        draft.problem("seed", error.reason)
        return 0
    if not 0 <= number < 2**32:
        draft.problem("seed", f"is {number}, and must be at least 0 and below 2^32")
    return number


def _page(sections: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """The configuration in YAML's types, in the order of :data:`SECTIONS`."""

    def component(chosen: Component) -> dict[str, Any]:
        return {"name": chosen.name, **chosen.options}

    def feature(part: Any) -> dict[str, Any]:
        options = {option_name(parameter): value for parameter, value in asdict(part).items()}
        return {"kind": registry.name_of("feature", type(part)) or part.kind, **options}

    def task(record: Any) -> dict[str, Any]:
        return {key: value for key, value in asdict(record).items() if key not in ("name", *FITTED)}

    page: dict[str, Any] = {
        **sections,
        **{kind: component(sections[kind]) for kind in ("source", "encoder", "architecture", "weighter")},
        **{kind: {name: component(part) for name, part in sections[kind].items()} for kind in ("heads", "losses")},
        **{kind: asdict(sections[kind]) for kind in ("split", "data", "optimizer", "run")},
        "metrics": {name: [component(part) for part in parts] for name, parts in sections["metrics"].items()},
        "features": {name: feature(part) for name, part in sections["features"].items()},
        "tasks": {record.name: task(record) for record in sections["tasks"]},
    }
    page["data"]["executor"] = component(sections["data"].executor)
    if (launcher := sections["run"].launcher) is not None:
        page["run"]["launcher"] = component(launcher)
    page["run"]["loggers"] = [component(chosen) for chosen in sections["run"].loggers]
    return {section: to_plain(page[section]) for section in SECTIONS}
