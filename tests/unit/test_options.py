"""Options that constructors inherit: which there are, of which type, and where they are documented."""

import pydoc
from typing import Any, TypedDict, Unpack, get_type_hints

import pytest

from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.bounds import PositiveInt, Share
from mtl_lightning.errors import PluginError, Problem
from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import Step, Weighter
from mtl_lightning.layers.mlp import ActivationOptions, LayerOptions
from mtl_lightning.options import INNER, documentation_of, options_of, write_inherited
from mtl_lightning.plugins import registry
from mtl_lightning.validation.binding import bind
from mtl_lightning.weighters.bases.gramian import GramianOptions, GramianWeighter, SeamOptions


class WidthOptions(TypedDict, total=False):
    width: PositiveInt
    share: Share


class Base:
    """A base.

    Args:
        width: Width of a layer.
        share: Share of rows.
        bias: Whether to add a bias.
    """

    def __init__(self, context: object, *, width: PositiveInt = 16, share: Share = 0.5, bias: bool = True) -> None:
        self.given = (width, share, bias)


class Derived(Base):
    """A component.

    Args:
        depth: Number of layers.
        options: Options of :class:`Base`.
    """

    def __init__(self, context: object, *, depth: int = 2, **options: Unpack[WidthOptions]) -> None:
        super().__init__(context, bias=False, **options)


class Plugin(Base):
    def __init__(self, context: object, *, width: PositiveInt = 4, **options: Any) -> None:
        super().__init__(context, width=width, **options)


class Below(Derived):
    def __init__(self, context: object, *, share: Share = 0.1, **options: Any) -> None:
        super().__init__(context, share=share, **options)


def defaults(component: Any) -> dict[str, Any]:
    return {name: option.default for name, option in options_of(component).items()}


def test_a_typed_dict_says_which_options_of_the_base_are_inherited() -> None:
    assert defaults(Derived) == {"width": 16, "share": 0.5, "depth": 2}
    assert Derived(None, width=3, share=0.2).given == (3, 0.2, False)


def test_options_of_any_type_are_all_of_the_next_constructor() -> None:
    assert defaults(Plugin) == {"width": 4, "share": 0.5, "bias": True}
    assert defaults(Below) == {"width": 16, "share": 0.1, "depth": 2}


def test_a_typed_dict_may_narrow_a_type() -> None:
    class Narrow(TypedDict, total=False):
        share: PositiveInt

    class Component(Base):
        def __init__(self, **options: Unpack[Narrow]) -> None: ...

    hints = {name: option.hint for name, option in options_of(Component).items()}
    assert hints == {"share": PositiveInt}


def test_options_that_only_a_typed_dict_declares_are_options_too() -> None:
    class Loose(TypedDict, total=False):
        size: PositiveInt

    class Needed(Loose):
        name: str

    def component(context: object, **options: Unpack[Needed]) -> None: ...

    assert defaults(component)["size"] is INNER
    assert options_of(component)["name"].required
    problems: list[Problem] = []
    assert bind(component, {"name": "a"}, "head", problems).options == {"name": "a"}
    assert problems == []
    bind(component, {"size": 0}, "head", problems)
    assert [problem.path for problem in problems] == ["head.size", "head.name"]


def test_problems_of_inherited_options_have_their_place() -> None:
    problems: list[Problem] = []
    bind(Derived, {"widht": 3, "width": 0, "share": "all", "depth": 1}, "encoder", problems)
    assert [str(problem) for problem in problems] == [
        "encoder.widht: unknown option (did you mean 'width'?)",
        "encoder.width: is 0, and must be at least 1",
        "encoder.share: expects a number, not 'all'",
    ]


def test_an_option_that_a_typed_dict_leaves_out_is_unknown() -> None:
    problems: list[Problem] = []
    bind(Derived, {"bias": True}, "encoder", problems)
    assert [problem.path for problem in problems] == ["encoder.bias"]


def test_type_hints_that_cannot_be_resolved_name_the_constructor() -> None:
    class Component:
        def __init__(self, **options: "Unpack[Missing]") -> None: ...  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(PluginError, match=r"Component can't be read: name 'Missing'"):
        options_of(Component)


@pytest.mark.parametrize(
    ("options", "base"),
    [
        (SeamOptions, GramianWeighter),
        (GramianOptions, GramianWeighter),
        (TowerOptions, TowerHead),
        (ActivationOptions, DenseArchitecture),
        (LayerOptions, DenseArchitecture),
    ],
)
def test_types_that_a_typed_dict_repeats_are_those_of_the_base(options: type, base: type) -> None:
    constructor = get_type_hints(base.__init__, include_extras=True)  # type: ignore[misc]
    assert {name: constructor[name] for name in options.__annotations__} == get_type_hints(options, include_extras=True)


def test_documentation_is_inherited() -> None:
    assert documentation_of(Derived) == {
        "depth": "Number of layers.",
        "options": "Options of :class:`Base`.",
        "width": "Width of a layer.",
        "share": "Share of rows.",
        "bias": "Whether to add a bias.",
    }


def test_help_shows_inherited_options_with_their_documentation_and_default() -> None:
    class Documented(Derived):
        """A component.

        Args:
            depth: Number of layers.
            options: Options of :class:`Base`.

        Example:
            >>> 1 + 1
            2
        """

    write_inherited(Documented)
    assert pydoc.plain(pydoc.render_doc(Documented)).count("width: Width of a layer. (Default: 16)") == 1
    assert "share: Share of rows. (Default: 0.5)\n\n" in (Documented.__doc__ or "")
    assert "bias" not in (Documented.__doc__ or "")
    assert "options:" not in (Documented.__doc__ or "")


def test_weighters_show_what_they_inherit() -> None:
    text = registry().resolve("weighter", "nash_mtl").__doc__ or ""
    assert [f"        {name}: " in text for name in ("every", "scope", "rescale", "gradients_at")] == [True] * 4
    assert "(Default: 'encoder')" in " ".join(text.split())


def test_a_docstring_without_an_entry_for_options_is_left_alone() -> None:
    class Own(Weighter):
        """Mine.

        Args:
            tasks: Names of the tasks.
        """

        def forward(self, step: Step) -> Any:
            return step.losses.sum()

    assert (Own.__doc__ or "").count(": ") == 1
