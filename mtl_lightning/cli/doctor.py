"""The command ``doctor``: versions, devices, caches, plugins and extras, and what is broken."""

from typing import Any

import typer
from rich.markup import escape

from mtl_lightning.cli.clean import size
from mtl_lightning.cli.json_output import notes_on_stderr, print_json
from mtl_lightning.printable import Console
from mtl_lightning.report.render.tables import facts_table


def doctor(as_json: bool) -> None:
    """Print what is installed and what is broken.

    Raises:
        Exit: With code 1 if something is broken.
    """
    from mtl_lightning.cli.environment import inspect_environment

    with notes_on_stderr():
        content = inspect_environment()
    if as_json:
        print_json(content)
    else:
        _print(content)
    if not content["ok"]:
        raise typer.Exit(1)


def _print(content: dict[str, Any]) -> None:
    console = Console(highlight=False, emoji=False)
    sections = _sections(content).items()
    rows = ((title if i == 0 else "", escape(line)) for title, lines in sections for i, line in enumerate(lines))
    console.print(facts_table(rows))
    for problem in content["problems"]:
        hint = f" ({problem['hint']})" if problem["hint"] else ""
        console.print(f"[red]broken:[/red] {escape(problem['path'] + ': ' + problem['reason'] + hint)}", soft_wrap=True)
    if content["ok"]:
        console.print("[bold green]ok[/bold green]")


def _sections(content: dict[str, Any]) -> dict[str, list[str]]:
    """Lines of the report by title."""
    python = content["python"]
    return {
        "Python": [f"{python['version']} {python['executable']}", python["platform"]],
        "packages": [f"{package['name']} {package['version'] or 'missing'}" for package in content["packages"]],
        "devices": _devices(content["devices"]),
        "caches": _caches(content["caches"]),
        "plugins": _plugins(content),
        "extras": [
            f"{name}: installed"
            if extra["ok"]
            else f"{name}: {extra['install']} (missing: {', '.join(extra['missing'])})"
            for name, extra in content["extras"].items()
        ],
    }


def _devices(devices: dict[str, Any]) -> list[str]:
    cores = f"{devices['usable_cores']} of {devices['cores']} CPU cores usable"
    if devices["cpu_quota"] is not None:
        cores += f", limited to {devices['cpu_quota']:g} by the container"
    lines = [cores + (f", {devices['threads']} threads of torch" if devices["threads"] else "")]
    for number, gpu in enumerate(devices["gpus"]):
        lines.append(f"cuda:{number} {gpu['name']}, {size(gpu['bytes'])}" + ("" if gpu["ok"] else ": can't compute"))
    if devices["mps"]:
        lines.append("mps (Apple GPU)")
    if len(lines) == 1:
        lines.append(f"no GPU (torch is built {'for CUDA ' + devices['cuda'] if devices['cuda'] else 'without CUDA'})")
    return lines


def _caches(caches: dict[str, Any]) -> list[str]:
    data, datasets = caches["data"], caches["datasets"]
    lines = [f"data {data['directory']}: {size(data['bytes'])}, {size(data.get('free_bytes', 0))} free on the disk"]
    for kind, content in data["kinds"].items():
        if content["entries"]:
            count = "1 entry" if content["entries"] == 1 else f"{content['entries']} entries"
            lines.append(f"  {kind}: {size(content['bytes'])} in {count}")
    if data["others"]:
        lines.append(f"  other files and folders: {data['others']}, not written by mtl-lightning")
    return [*lines, f"datasets {datasets['directory']}: {size(datasets['bytes'])}"]


def _plugins(content: dict[str, Any]) -> list[str]:
    lines = []
    for plugin in content["plugins"]:
        failure = plugin["failure"]
        state = f" is not used: {failure['stage']}: {failure['reason']}" if failure else ""
        lines.append(f"{plugin['name']} ({plugin['distribution']} {plugin['version']}){state}")
    return lines + ([f"left out by MTL_PLUGINS: {', '.join(content['left_out'])}"] if content["left_out"] else [])
