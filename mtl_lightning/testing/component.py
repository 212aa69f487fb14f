"""Tests that components of every kind pass: documentation and constructor."""

import doctest
import importlib
import inspect
import pickle
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from mtl_lightning.options import options_of
from mtl_lightning.plugins.entries import foreign_lightning


class ComponentContract:
    """Tests that each kind inherits. Set ``component``, and ``options`` if the defaults don't suffice.

    Example:
        See :mod:`mtl_lightning.testing`.
    """

    component: Any
    options: ClassVar[Mapping[str, Any]] = {}
    context: ClassVar[int] = 0
    """Number of positional arguments of the constructor."""

    def construct(self, *context: Any, **more: Any) -> Any:
        """Construct the component as a recipe does, with every option given and the same initial values each time."""
        options = options_of(self.component)
        defaults = {name: option.default for name, option in options.items() if option.has_default}
        torch.manual_seed(0)
        return self.component(*context, **{**defaults, **self.options, **more})

    def test_docstring_opens_with_a_sentence_and_documents_every_option(self) -> None:
        text = inspect.cleandoc(self.component.__doc__ or "")
        opening = " ".join(text.split("\n\n")[0].split())
        assert opening.endswith("."), f"the docstring opens with {opening!r}"
        inherited = "\n".join(base.__doc__ or "" for base in self.component.__mro__)
        missing = [name for name in options_of(self.component) if f"{name}:" not in inherited]
        assert not missing, f"options without a line in the docstring: {missing}"

    def test_docstring_has_an_example_that_runs(self) -> None:
        module = importlib.import_module(self.component.__module__)
        flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
        examples = 0
        for example in doctest.DocTestFinder(recurse=False).find(self.component, module=module, globs=vars(module)):
            lines: list[str] = []
            result = doctest.DocTestRunner(optionflags=flags).run(example, out=lines.append)
            assert result.failed == 0, "".join(lines)
            examples += result.attempted
        assert examples, "the docstring has no >>> example"

    def test_options_are_keyword_only_with_types_and_defaults(self) -> None:
        parameters = list(inspect.signature(self.component).parameters.values())
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        positional = [p for p in parameters if p.kind in kinds and p.default is p.empty]
        assert len(positional) == self.context, f"positional arguments: {[p.name for p in positional]}"
        assert all(p.kind is not p.VAR_POSITIONAL for p in parameters), "options must be listed"
        listed = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        handed_on = any(p.kind is p.VAR_KEYWORD for p in parameters)
        assert not handed_on or set(options_of(self.component)) > listed, "no base lists what ** hands on"
        for name, option in options_of(self.component).items():
            assert option.hint is not Any, f"option {name} has no type"
            assert not option.required or name in self.options, f"option {name} has no default"

    def test_is_not_built_on_pytorch_lightning(self) -> None:
        assert not foreign_lightning(self.component)


def copy_by_pickle(thing: Any) -> Any:
    """The thing after a trip to another process."""
    return pickle.loads(pickle.dumps(thing))


def gradients(module: nn.Module) -> dict[str, torch.Tensor]:
    """Dense gradients of the parameters by name; fails if one is missing, since DDP waits for all of them."""
    by_name = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"parameter {name} takes no part"
            by_name[name] = parameter.grad.to_dense()
    return by_name


def check_gradients(module: nn.Module) -> None:
    """Check that every parameter has a finite gradient."""
    assert all(torch.isfinite(gradient).all() for gradient in gradients(module).values())


def check_reaches(value: torch.Tensor, leaf: torch.Tensor, name: str = "") -> None:
    """Check that the gradient of a scalar at a leaf is finite, and not zero; the graph stays."""
    assert value.shape == ()
    assert torch.isfinite(value)
    (gradient,) = torch.autograd.grad(value, leaf, retain_graph=True)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0, name


def mix(*tensors: torch.Tensor) -> torch.Tensor:
    """A random combination of all elements, a scalar."""
    generator = torch.Generator().manual_seed(1)
    return torch.stack([(h * torch.randn(h.shape, generator=generator)).sum() for h in tensors]).sum()


def restored(module: nn.Module, fresh: nn.Module) -> tuple[Any, Any]:
    """Copies of a module: a fresh one that loaded its state, and a pickled one."""
    fresh.load_state_dict(copy_by_pickle(module.state_dict()))
    return fresh, copy_by_pickle(module)


def perturb(module: nn.Module) -> None:
    """Move all parameters a little, so that a reloaded state differs from a fresh one."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter), alpha=0.1)
