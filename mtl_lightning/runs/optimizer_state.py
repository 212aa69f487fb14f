"""Check of saved optimizer states against the optimizers of a module."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, TypedDict

import torch
from torch import Tensor, nn

from mtl_lightning.bounds import Bounds, NonNegativeFloat, NonNegativeInt
from mtl_lightning.data.features.state_structure import check_schema
from mtl_lightning.errors import MtlError
from mtl_lightning.runs.checkpoint_content import check_alike, require_keys, require_tensor
from mtl_lightning.structure import check, shown
from mtl_lightning.training import optimizer as optim
from mtl_lightning.training.module import MultiTaskModule
from mtl_lightning.training.sharded import updates


class SavedOptimizer(TypedDict):
    """State of one of torch's optimizers."""

    state: dict[int, dict[str, Tensor | float | None]]
    param_groups: list[dict[str, Any]]


class SavedOptimizers(TypedDict):
    """State of a :class:`~mtl_lightning.training.optimizer.CompositeOptimizer`."""

    optimizers: Annotated[list[SavedOptimizer], Bounds(ge=1)]


def check_table_state(checkpoint: Mapping[str, Any]) -> None:
    """Check the types of optimizer states that a warm start may copy, and that their numbers are finite.

    Raises:
        MtlError: With the place of a wrong value.
    """
    require_keys(checkpoint, "mtl_lightning")
    require_keys(checkpoint["mtl_lightning"], "schema", "config", where="mtl_lightning")
    check_schema(checkpoint["mtl_lightning"]["schema"], "mtl_lightning.schema")
    check(checkpoint["mtl_lightning"]["config"], dict[str, Any], "mtl_lightning.config")
    states = checkpoint.get("optimizer_states", [])
    check(states, list[SavedOptimizers], "optimizer_states")
    for number, inner in enumerate(optimizer for state in states for optimizer in state["optimizers"]):
        for index, values in inner["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    where = f"optimizer_states.{number}.state.{index}.{name}"
                    require_tensor(value, None, where, floating=value.is_floating_point())


def check_optimizer(checkpoint: Mapping[str, Any], module: MultiTaskModule) -> None:
    """Check the state of every optimizer: its groups, and the values per parameter with their shapes.

    Args:
        checkpoint: Content of the checkpoint.
        module: The run's module.

    Raises:
        MtlError: With the place of a missing or wrong value.
    """
    require_keys(checkpoint, "optimizer_states", "lr_schedulers")
    expected, parameters = _model_optimizer(module)
    saved = checkpoint["optimizer_states"]
    if not isinstance(saved, list) or len(saved) != 1 or not isinstance(saved[0], dict):
        raise MtlError("optimizer_states is not a list of one optimizer's state")
    inner = saved[0].get("optimizers")
    if not isinstance(inner, list) or len(inner) != len(parameters):
        raise MtlError(f"optimizer_states has other optimizers than {len(parameters)}")
    for number, (state, model) in enumerate(zip(inner, expected.state_dict()["optimizers"], strict=True)):
        place = f"optimizer_states.{number}"
        if not isinstance(state, dict) or state.keys() != {"state", "param_groups"}:
            raise MtlError(f"{place} has no state and groups")
        if parameters[number] is None:  # tables that an encoder updates: their state is next to the checkpoint
            continue
        _check_groups(state["param_groups"], model["param_groups"], f"{place}.param_groups")
        _check_moments(state["state"], model["state"], parameters[number] or [], f"{place}.state", checkpoint)
    schedulers = checkpoint["lr_schedulers"]
    own = optim.build_scheduler(module.optimizer_config, expected, lambda: 1)
    if not isinstance(schedulers, list) or len(schedulers) != (own is not None):
        raise MtlError("lr_schedulers is not the state of the run's schedule", "leave optimizer.schedule as it was")
    for state in schedulers:
        assert own is not None
        check_alike(state, own.state_dict(), "lr_schedulers[0]", partial=True)
        require_keys(state, "last_epoch", "_last_lr", "base_lrs")
        check(state["last_epoch"], NonNegativeInt, "lr_schedulers[0].last_epoch")
        check(state.get("lr_lambdas", []), list[None], "lr_schedulers[0].lr_lambdas")


def _model_optimizer(module: MultiTaskModule) -> tuple[optim.CompositeOptimizer, list[list[nn.Parameter] | None]]:
    """The run's optimizer over stand-ins of one number each, after a step; and the parameters of each optimizer."""
    tables = module.network.encoder.table_parameters()
    ids = {id(table) for table in tables}
    dense = [p for p in module.network.parameters() if id(p) not in ids and p.requires_grad]
    undecayed = list(module.weighter.parameters())
    small = {id(p): nn.Parameter(torch.zeros((1,) * p.ndim)) for p in (*dense, *undecayed, *tables)}
    config = replace(module.optimizer_config, fused=False)
    built = optim.build_optimizer(
        config, [small[id(p)] for p in dense], [small[id(p)] for p in undecayed], [small[id(p)] for p in tables]
    )
    for table in tables:
        small[id(table)].grad = torch.zeros((1,) * table.ndim).to_sparse(1)
    for parameter in (*dense, *undecayed):
        small[id(parameter)].grad = torch.zeros((1,) * parameter.ndim)
    built.step()
    own = {id(stand_in): p for p in (*dense, *undecayed, *tables) for stand_in in (small[id(p)],)}
    order: list[list[nn.Parameter] | None] = [
        [own[id(p)] for group in inner.param_groups for p in group["params"]] for inner in built.optimizers
    ]
    if (shards := updates(module.network.encoder)) is not None:
        built.optimizers.append(shards)
        built.param_groups += [dict(group) for group in shards.param_groups]  # copies: a schedule changes their rates
        order.append(None)
    return built, order


def _check_groups(groups: Any, model: list[dict[str, Any]], place: str) -> None:
    if not isinstance(groups, list) or len(groups) != len(model):
        raise MtlError(f"{place} is {shown(groups)}, not a list of {len(model)}")
    for index, (group, form) in enumerate(zip(groups, model, strict=True)):
        # Versions of torch and a schedule add options of their own.
        check_alike(group, form, f"{place}[{index}]", partial=True)
        require_keys(group, "params", "lr")
        if group["params"] != form["params"]:
            raise MtlError(f"{place}[{index}].params are others than the run's")
        check(group["lr"], NonNegativeFloat, f"{place}[{index}].lr")


def _check_moments(
    state: Any, model: dict[int, dict[str, Any]], parameters: list[nn.Parameter], place: str, checkpoint: Any
) -> None:
    if not isinstance(state, dict) or not state.keys() <= set(range(len(parameters))):
        raise MtlError(f"{place} is {shown(state)}, or of other parameters")
    if model and not state and checkpoint["global_step"] > 0:
        raise MtlError(f"{place} is empty after {checkpoint['global_step']} steps")
    for index, values in state.items():
        form = model.get(index, {})
        if not isinstance(values, dict) or values.keys() != form.keys():
            raise MtlError(f"{place}.{index} has other values than {', '.join(form) or 'none'}")
        for name, value in values.items():
            where, small = f"{place}.{index}.{name}", form[name]
            if isinstance(small, Tensor):
                shape = parameters[index].shape[: small.ndim]
                require_tensor(value, shape, where, floating=small.is_floating_point())
            else:
                check_alike(value, small, where)
