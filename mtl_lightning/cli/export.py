"""The command ``export``: write a run as a folder that other programs can read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtl_lightning.cli.run_arguments import open_run
from mtl_lightning.config import read_arguments
from mtl_lightning.ranks import process_rank
from mtl_lightning.report.render.console import first_console, say


def export(pairs: Sequence[str]) -> dict[str, Any] | None:
    """Write a run's best weights as ONNX, ``torch.export`` and safetensors, with transforms and a manifest.

    Args:
        pairs: ``run=<run directory> out=<new folder>``, ``score=<formula>``, ``calibrate=false`` and
            ``histories=true``.

    Returns:
        ``out``, ``files`` with their bytes, ``bytes`` and ``score``; None on processes other than the first.

    Raises:
        MtlError: If the run can't be opened, the folder exists already, or something in it can't be written.
    """
    console = first_console()
    arguments = read_arguments("export", pairs, ["run", "out"], ["score", "calibrate", "histories"], settings="dotted")
    calibrate, histories = arguments.switch("calibrate"), arguments.switch("histories", "false")
    run, config = open_run(arguments, console, rows=calibrate)
    if process_rank() > 0:
        return None

    from mtl_lightning.export.write import export_run
    from mtl_lightning.report.training.terminal import quiet_lightning

    quiet_lightning()
    out = Path(arguments.own["out"])
    score = arguments.own.get("score")
    manifest = export_run(run, config, out, score=score, calibrate=calibrate, histories=histories)
    sizes = {name: file["bytes"] for name, file in manifest.files.items()}
    say(console, f"{out}: {', '.join(sizes)}, manifest.json; {sum(sizes.values()):,} bytes")
    say(console, f"score = {manifest.score}" if manifest.score else "no combined score")
    return {"out": str(out), "files": sizes, "bytes": sum(sizes.values()), "score": manifest.score}
