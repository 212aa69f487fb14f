"""Loading of plugins: real distributions on the path, each broken in its own way, next to the core."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from mtl_lightning.cli.commands import register
from mtl_lightning.config import compose, validate
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.growth import begin
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.errors import ConfigError, MtlError, PluginError
from mtl_lightning.plugins import KINDS, Registry, registry
from mtl_lightning.plugins.entries import HOOKS

HEAD = "from mtl_lightning.hookspecs import hookimpl\nMTL_API = 1\n"
Install = Callable[..., None]


def weighters(table: dict[str, str]) -> str:
    return f"{HEAD}\n@hookimpl\ndef mtl_weighters():\n    return {table!r}\n"


MEAN = """
from mtl_lightning.interfaces import Weighter

class Mean(Weighter):
    def __init__(self, tasks, *, scale: float = 1.0):
        super().__init__(tasks)
        self.scale = scale

    def forward(self, step):
        return self.scale * step.losses.mean()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    site = tmp_path / "site"
    site.mkdir()
    before = set(sys.modules)

    def add(name: str, modules: dict[str, str], points: str, version: str = "1.0") -> None:
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[mtl_lightning]\n{points}\n")
        for path, text in modules.items():
            file = site / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(text))
        registry.cache_clear()

    monkeypatch.delenv("MTL_PLUGINS", raising=False)
    monkeypatch.delenv("MTL_DEBUG", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(site)
    yield add
    registry.cache_clear()
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(site):
            del sys.modules[name]


def failure_of(loaded: Registry, name: str) -> tuple[str, str]:
    info = next(plugin for plugin in loaded.plugins if plugin.name == name)
    assert info.failure is not None
    assert info.failure.traceback.startswith("Traceback")
    return info.failure.stage, info.failure.reason


def test_a_plugin_supplies_names_that_resolve_on_use(install: Install) -> None:
    install(
        "My_Plug.In",
        {"good_plugin/__init__.py": weighters({"mean": "good_plugin.mean:Mean"}), "good_plugin/mean.py": MEAN},
        "good = good_plugin",
    )
    loaded = registry()
    assert "mean" in loaded.names("weighter")
    assert "good_plugin.mean" not in sys.modules
    assert loaded.resolve("weighter", "mean") is loaded.resolve("weighter", "my-plug-in/mean")
    assert loaded.resolve("weighter", "My_Plug.In/mean").__name__ == "Mean"
    assert loaded.versions()["my-plug-in"] == "1.0"


@pytest.mark.parametrize(("kind", "hook"), HOOKS.items())
def test_every_hook_of_names_supplies_its_kind(kind: str, hook: str, install: Install) -> None:
    text = f"{HEAD}@hookimpl\ndef {hook}():\n    return {{'mine': 'm:M'}}\n"
    install("named", {"named_plugin.py": text}, "named = named_plugin")
    loaded = registry()
    assert loaded.entry(kind, "mine").qualified == "named/mine"
    assert [other for other in KINDS if "mine" in loaded.names(other)] == [kind]


BROKEN = {
    "import_error": ("import not_there_at_all\n", "load", "No module named 'not_there_at_all'"),
    "exits": ("raise SystemExit(3)\n", "load", "SystemExit: 3"),
    "syntax": ("def broken(:\n", "load", "SyntaxError"),
    "no_api": ("from mtl_lightning.hookspecs import hookimpl\n", "api", "has no MTL_API"),
    "future_api": ("MTL_API = 99\n", "api", "is made for MTL_API 99; this is 1"),
    "misspelt": (f"{HEAD}@hookimpl\ndef mtl_weighter():\n    return {{}}\n", "hooks", "mtl_weighter"),
    "unmarked": (f"{HEAD}def mtl_weighters():\n    return {{}}\n", "hooks", "mtl_weighters has no @hookimpl"),
    "arguments": (f"{HEAD}@hookimpl\ndef mtl_weighters(colour):\n    return {{}}\n", "register", "colour"),
    "raises": (f"{HEAD}@hookimpl\ndef mtl_weighters():\n    raise RuntimeError('boom')\n", "mtl_weighters", "boom"),
    "nothing": (f"{HEAD}@hookimpl\ndef mtl_heads():\n    {{'a': 'x:Y'}}\n", "mtl_heads", "it gave None"),
    "a_list": (f"{HEAD}@hookimpl\ndef mtl_heads():\n    return ['a']\n", "mtl_heads", "it gave list"),
    "a_class": (weighters({"mean": "x:Y"}).replace("'x:Y'", "object"), "mtl_weighters", "not 'module:Class'"),
    "no_colon": (weighters({"mean": "x.Y"}), "mtl_weighters", "'x.Y', not 'module:Class'"),
    "bad_name": (weighters({"a/b": "x:Y"}), "mtl_weighters", "'a/b' can't be the name of a weighter"),
    "recipes": (
        f"{HEAD}@hookimpl\ndef mtl_recipes():\n    return ['no_such_package']\n",
        "mtl_recipes",
        "no_such_package",
    ),
    "foreign": (f"import pytorch_lightning as pl\n{HEAD}", "lightning", "pl is built on pytorch_lightning"),
    "foreign_class": (f"from pytorch_lightning import Callback\n{HEAD}", "lightning", "Callback is built on"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_recorded_warned_about_once_and_leaves_no_trace(
    case: str, install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    text, stage, reason = BROKEN[case]
    good = {"good_plugin.py": weighters({"mean": "good_mean:Mean"}), "good_mean.py": MEAN}
    install("aaa-broken", {f"broken_{case}.py": text}, f"bad = broken_{case}", version="0.3")
    install("zzz-good", good, "good = good_plugin")
    loaded = registry()
    assert failure_of(loaded, "bad")[0] == stage
    assert reason in failure_of(loaded, "bad")[1]
    assert [record.message for record in caplog.records if "bad (aaa-broken 0.3)" in record.message] == [
        f"plugin bad (aaa-broken 0.3) is not used: {stage}: {failure_of(loaded, 'bad')[1]}"
    ]
    assert "aaa-broken" not in loaded.versions()
    assert loaded.resolve("weighter", "mean").__name__ == "Mean"
    assert loaded.resolve("weighter", "sum").__name__ == "Sum"
    assert not any(
        entry.plugin == "bad" for kind in ("weighter", "head", "recipe") for _, entry in loaded.entries(kind)
    )


def test_a_broken_plugin_is_fatal_only_for_a_name_that_nobody_has(install: Install) -> None:
    install("broken", {"broken_one.py": "import not_there_at_all"}, "bad = broken_one", version="0.3")
    assert registry().entry("weighter", "pcgrad").distribution == "mtl-lightning"
    with pytest.raises(
        PluginError, match=r"no weighter is called 'mine'.*bad \(broken 0\.3\) failed and may have suppl"
    ):
        registry().entry("weighter", "mine")


def test_a_recipe_of_a_broken_plugin_is_no_path(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("My_Broken", {"broken_one.py": "import not_there_at_all"}, "bad = broken_one", version="0.3")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PluginError, match=r"no recipe is called 'my-broken/mine'.*failed.*not_there_at_all"):
        compose("my-broken/mine")
    with pytest.raises(MtlError, match="a recipe is a name or a path"):
        compose("elsewhere/mine")
    (tmp_path / "my-broken").mkdir()
    (tmp_path / "my-broken" / "mine").write_text("extends: base\nseed: 5\n")
    assert compose("my-broken/mine").plain["seed"] == 5


def test_debug_shows_the_traceback(
    install: Install, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install("broken", {"broken_one.py": "import not_there_at_all"}, "bad = broken_one")
    monkeypatch.setenv("MTL_DEBUG", "1")
    registry()
    assert "Traceback (most recent call last)" in caplog.text
    assert "broken_one.py" in caplog.text


def test_nobody_shadows_core_silently(install: Install) -> None:
    modules = {"shadow.py": weighters({"pcgrad": "shadow_mean:Mean"}), "shadow_mean.py": MEAN}
    install("shadow", modules, "shadow = shadow", version="2.0")
    loaded = registry()
    with pytest.raises(
        PluginError, match=r"mtl-lightning .* and shadow 2\.0.*choose mtl-lightning/pcgrad or shadow/pcgr"
    ):
        loaded.resolve("weighter", "pcgrad")
    assert loaded.resolve("weighter", "shadow/pcgrad").__name__ == "Mean"
    assert loaded.resolve("weighter", "mtl-lightning/pcgrad").__name__ == "PCGrad"
    assert loaded.resolve("weighter", "famo").__name__ == "FAMO"
    assert {"mtl-lightning/pcgrad", "shadow/pcgrad"} <= set(loaded.names("weighter"))
    assert "pcgrad" not in loaded.names("weighter")


def test_two_plugins_with_one_name_and_one_entry_point_name(install: Install) -> None:
    for name in ("one", "two"):
        modules = {
            f"{name}.py": weighters({"mean": f"{name}_mean:Mean", name: f"{name}_mean:Mean"}),
            f"{name}_mean.py": MEAN,
        }
        install(f"dist-{name}", modules, f"same = {name}")
    loaded = registry()
    with pytest.raises(PluginError, match=r"dist-one 1\.0 and dist-two 1\.0"):
        loaded.entry("weighter", "mean")
    assert loaded.resolve("weighter", "dist-one/mean").__module__ == "one_mean"
    assert loaded.resolve("weighter", "dist-two/mean").__module__ == "two_mean"
    assert {"one", "two"} <= set(loaded.names("weighter"))
    with pytest.raises(PluginError, match="no weighter is called 'dist-three/mean'"):
        loaded.entry("weighter", "dist-three/mean")


def test_two_entry_points_of_one_name_in_one_distribution(install: Install) -> None:
    modules = {"first.py": weighters({"first": "m:M"}), "second.py": weighters({"second": "m:M"})}
    install("double", modules, "same = first\nsame = second")
    loaded = registry()
    assert "first" in loaded.names("weighter")
    assert [plugin.failure is None for plugin in loaded.plugins if plugin.name == "same"] == [True, False]
    assert any("two entry points called 'same'" in str(plugin.failure) for plugin in loaded.plugins)


def test_one_module_under_two_entry_points_keeps_the_first(install: Install) -> None:
    install("double", {"only.py": weighters({"only": "m:M"})}, "a = only\nb = only")
    loaded = registry()
    assert loaded.entry("weighter", "only").plugin == "a"
    assert failure_of(loaded, "b") == ("register", "another entry point refers to the same plugin")


def test_one_distribution_cannot_give_a_name_twice(install: Install) -> None:
    modules = {"first.py": weighters({"mean": "m:A"}), "second.py": weighters({"mean": "m:B"})}
    install("double", modules, "a = first\nb = second")
    loaded = registry()
    assert loaded.entry("weighter", "double/mean").target == "m:A"
    assert "supplies the weighter 'mean' twice" in failure_of(loaded, "b")[1]


def test_core_is_no_name_for_others(install: Install) -> None:
    install("impostor", {"impostor.py": weighters({"mine": "m:M"})}, "core = impostor")
    loaded = registry()
    assert "pcgrad" in loaded.names("weighter")
    assert "mine" not in loaded.names("weighter")
    assert any("the name of the built-ins" in str(plugin.failure) for plugin in loaded.plugins)


def test_the_environment_restricts_loading(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("mtl-foo", {"foo_plugin.py": weighters({"foo": "m:M"})}, "foo = foo_plugin")
    install("mtl-bar", {"bar_plugin.py": "raise RuntimeError('loaded all the same')"}, "bar = bar_plugin")
    monkeypatch.setenv("MTL_PLUGINS", "core, foo")
    loaded = registry()
    assert {"foo", "sum"} <= set(loaded.names("weighter"))
    assert [plugin.name for plugin in loaded.plugins] == ["foo", "core"]
    with pytest.raises(PluginError, match="MTL_PLUGINS leaves out bar"):
        loaded.entry("weighter", "bar")
    registry.cache_clear()
    monkeypatch.setenv("MTL_PLUGINS", "core,fo")
    with pytest.raises(PluginError, match=r"MTL_PLUGINS names fo .*foo"):
        registry()


def test_a_kind_of_feature_that_two_plugins_have_is_read_again_as_it_was(install: Install, tmp_path: Path) -> None:
    module = """
    from dataclasses import dataclass
    from mtl_lightning.data.features.numeric import Numeric as Core
    from mtl_lightning.data.features.numeric import NumericTransform

    class Doubled(NumericTransform):
        def encode(self, block):
            return 2 * super().encode(block)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Numeric(Core):
        def build(self, name, others):
            return Doubled(name, self)
    """
    text = f"{HEAD}@hookimpl\ndef mtl_features():\n    return {{'numeric': 'twice.numeric:Numeric'}}\n"
    install("twice", {"twice/__init__.py": text, "twice/numeric.py": module}, "twice = twice")
    features = {"a": "mtl-lightning/numeric", "b": {"kind": "twice/numeric", "column": "a"}}
    fitted = Transforms(build_features(features), ())
    rows = pa.table({"a": [1.0, 2.0, 4.0]})
    fitted.fit([rows])
    fitted.save(tmp_path / "transforms.json")
    again = Transforms.load(tmp_path / "transforms.json")
    assert {name: item["kind"] for name, item in again.to_dict()["features"].items()} == {
        "a": "mtl-lightning/numeric",
        "b": "twice/numeric",
    }
    first, second = again.encode(rows).dense.T
    assert first.abs().max() > 0
    assert (second == 2 * first).all()
    numeric = ("user_age", "user_activity", "price", "bid")
    pairs = [f"features.{name}.kind=mtl-lightning/numeric" for name in numeric]
    config = validate(compose("ads", [*pairs, "source.rows=100"]).plain)
    assert {config.plain["features"][name]["kind"] for name in numeric} == {"mtl-lightning/numeric"}
    assert validate(config.plain) == config
    registry.cache_clear()
    with pytest.raises(ConfigError, match=r"features\.b: is mtl-lightning/numeric, was twice/numeric"):
        begin(Transforms(build_features(dict.fromkeys(features, "mtl-lightning/numeric")), ()), again)


def test_resolving_says_why_it_fails(install: Install) -> None:
    table = {
        "needs": "res_needs:X",
        "typo": "res_ok:Xx",
        "function": "res_ok:function",
        "wrong": "res_ok:Plain",
        "abstract": "res_ok:Abstract",
        "foreign": "res_foreign:Foreign",
        "raises": "res_raises:X",
        "exits": "res_exits:X",
    }
    modules = {
        "res.py": weighters(table),
        "res_needs.py": "import qpsolvers_that_nobody_has.core",
        "res_ok.py": """
            from mtl_lightning.interfaces import Weighter
            def function(): ...
            class Plain: ...
            class Abstract(Weighter): ...
        """,
        "res_foreign.py": """
            import pytorch_lightning
            class Foreign(pytorch_lightning.LightningModule): ...
        """,
        "res_raises.py": "1 / 0",
        "res_exits.py": "raise SystemExit(0)",
    }
    install("res", modules, "res = res")
    loaded = registry()
    reasons = {
        "needs": r"No module named 'qpsolvers_that_nobody_has'.*install what provides 'qpsolvers_that_nobody_has'",
        "typo": "has no attribute 'Xx'",
        "function": "is not a class",
        "wrong": "is not a Weighter",
        "abstract": "does not define forward",
        "foreign": "built on pytorch_lightning.*import lightning.pytorch instead",
        "raises": "ZeroDivisionError",
        "exits": "SystemExit: 0",
    }
    for name, reason in reasons.items():
        with pytest.raises(PluginError, match=reason):
            loaded.resolve("weighter", name)
    assert {problem.reason.split()[1] for problem in loaded.check() if problem.path == "res"} == {
        f"res/{name}" for name in table
    }


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(PluginError, match="did you mean 'pcgrad'"):
        registry().entry("weighter", "pcgard")
    with pytest.raises(PluginError, match="'mmoe' is a name of kind architecture"):
        registry().entry("weighter", "mmoe")


def test_recipes_collide_and_qualify_like_components(install: Install) -> None:
    for name in ("left", "right"):
        modules = {
            f"{name}_plugin.py": f"{HEAD}@hookimpl\ndef mtl_recipes():\n    return ['{name}_recipes']\n",
            f"{name}_recipes/__init__.py": "",
            f"{name}_recipes/shared.yaml": f"seed: {len(name)}\n",
            f"{name}_recipes/{name}.yaml": "extends: shared\n",
            f"{name}_recipes/notes.txt": "",
        }
        install(name, modules, f"{name} = {name}_plugin")
    loaded = registry()
    assert {"left", "right", "left/shared", "right/shared"} <= set(loaded.recipes())
    assert not {"shared", "notes", "notes.txt"} & set(loaded.recipes())
    assert loaded.recipe("right/shared").read_text() == "seed: 5\n"
    with pytest.raises(PluginError, match="several plugins have a recipe called 'shared'"):
        loaded.recipe("shared")
    assert loaded.recipe("shared", owner="left").read_text() == "seed: 4\n"
    assert loaded.recipe("right", owner="left").read_text() == "extends: shared\n"
    with pytest.raises(PluginError, match="no recipe is called"):
        loaded.recipe("left/right", owner="right")


CALLBACKS = """
@hookimpl
def mtl_callbacks(config):
    from lightning.pytorch import Callback
    class Mine(Callback):
        seed = config.pop("seed")
    return [Mine()]
"""


def test_one_raising_callback_hook_does_not_stop_the_others(install: Install) -> None:
    install("good-one", {"cb_good.py": HEAD + CALLBACKS}, "good = cb_good")
    foreign = CALLBACKS.replace("from lightning.pytorch", "from pytorch_lightning")
    install("bad-foreign", {"cb_foreign.py": HEAD + foreign}, "foreign = cb_foreign")
    raising = weighters({"kept": "m:M"}) + "@hookimpl\ndef mtl_callbacks(config):\n    raise KeyError('colour')\n"
    install("bad-raising", {"cb_raising.py": raising}, "raising = cb_raising")
    install(
        "wrong-type", {"cb_type.py": HEAD + "@hookimpl\ndef mtl_callbacks(config):\n    return [1]\n"}, "type = cb_type"
    )
    loaded = registry()
    config = {"seed": 7}
    assert [type(callback).__name__ for callback in loaded.callbacks(config)] == ["Mine"]
    assert config == {"seed": 7}
    assert failure_of(loaded, "foreign")[0] == "mtl_callbacks"
    assert "import lightning.pytorch instead" in failure_of(loaded, "foreign")[1]
    assert failure_of(loaded, "raising") == ("mtl_callbacks", "KeyError: 'colour'")
    assert "not a lightning.pytorch.Callback" in failure_of(loaded, "type")[1]
    assert loaded.versions()["bad-raising"] == "1.0", "its names are still in use"


def command(name: str, then: str = "") -> str:
    body = f"    @app.command()\n    def {name}():\n        print('{name}!')\n    {then}\n"
    return f"{HEAD}@hookimpl\ndef mtl_commands(app):\n{body}"


def test_commands_are_added_and_cannot_replace_others(install: Install) -> None:
    install("good-one", {"cmd_good.py": command("greet")}, "good = cmd_good")
    install("shadow", {"cmd_shadow.py": command("plugins")}, "shadow = cmd_shadow")
    install("raising", {"cmd_raising.py": command("half", "raise ValueError('no')")}, "raising = cmd_raising")
    app = typer.Typer()
    register(app)
    loaded = registry()
    loaded.commands(app)
    assert CliRunner().invoke(app, ["greet"]).output == "greet!\n"
    assert "good-one" in CliRunner().invoke(app, ["plugins"]).output
    assert CliRunner().invoke(app, ["half"]).exit_code == 2
    assert failure_of(loaded, "shadow") == ("mtl_commands", "the command 'plugins' belongs to core")
    assert failure_of(loaded, "raising") == ("mtl_commands", "ValueError: no")


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    register(app)
    app.callback()(lambda: None)
    return app


def test_the_command_lists_failures_and_names(install: Install, app: typer.Typer) -> None:
    install("broken", {"broken_one.py": "import not_there_at_all"}, "bad = broken_one", version="0.3")
    install("good", {"good_plugin.py": weighters({"mean": "not_there_either:Mean"})}, "good = good_plugin")
    result = CliRunner().invoke(app, ["plugins", "--json"])
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    bad = next(plugin for plugin in record["plugins"] if plugin["name"] == "bad")
    assert (bad["distribution"], bad["version"], bad["failure"]["stage"]) == ("broken", "0.3", "load")
    assert "Traceback" in bad["failure"]["traceback"]
    mean = next(item for item in record["names"]["weighter"] if item["name"] == "mean")
    assert (mean["qualified"], mean["target"]) == ("good/mean", "not_there_either:Mean")
    assert "problems" not in record
    only = json.loads(CliRunner().invoke(app, ["plugins", "--json", "--kind", "weighter"]).stdout)
    assert list(only["names"]) == ["weighter"]
    table = CliRunner().invoke(app, ["plugins"], env={"COLUMNS": "200"}).stdout
    assert "not used: load: ModuleNotFoundError: No module named 'not_there_at_all'" in table
    checked = CliRunner().invoke(app, ["plugins", "--json", "--check"])
    assert checked.exit_code == 1
    reasons = [problem["reason"] for problem in json.loads(checked.stdout)["problems"]]
    assert any("good/mean" in reason for reason in reasons)
    assert any("not_there_at_all" in reason for reason in reasons)


def test_an_unknown_kind_is_named(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["plugins", "--kind", "wieghter"])
    assert isinstance(result.exception, PluginError)
    assert "wieghter" in str(result.exception)


def test_all_processes_agree_on_the_order(install: Install) -> None:
    for name in ("zeta", "alpha", "mid"):
        install(f"dist-{name}", {f"order_{name}.py": HEAD}, f"b = order_{name}")
    names = [(plugin.distribution, plugin.name) for plugin in registry().plugins]
    assert names == sorted(names)


@pytest.mark.parametrize("arguments", [["plugins"], ["plugins", "--json"], ["--help"], ["recipes", "--help"]])
def test_listing_imports_no_torch(arguments: list[str], install: Install) -> None:
    modules = {"good_plugin.py": weighters({"mean": "good_mean:Mean"}), "good_mean.py": MEAN}
    install("good", modules, "good = good_plugin")
    code = dedent(f"""
        import runpy, sys
        sys.argv = ["mtl-lightning", *{arguments!r}]
        try:
            runpy.run_module("mtl_lightning", run_name="__main__")
        except SystemExit as leave:
            assert not leave.code, leave.code
        heavy = sorted({{"torch", "lightning", "datasets", "pandas", "pytorch_lightning"}} & set(sys.modules))
        print("heavy:", heavy)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("heavy: []")
