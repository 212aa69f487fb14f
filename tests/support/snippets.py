"""Snippets of documents, run in order in a folder, as a reader would."""

import os
import subprocess
import sys
from pathlib import Path

from warm_python import warm_python


def run_snippet(language: str, code: str, folder: Path) -> str:
    """Output of a snippet of ``sh`` or ``python``, run in a folder with a cache below it; fail with it if it fails."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(
            [str(Path(warm_python()).parent), str(Path(sys.executable).parent), os.environ["PATH"]]
        ),
        "MTL_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else [warm_python(), "-c", code]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
