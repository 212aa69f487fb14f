"""Starts a script in several processes with torchrun's environment, and waits for all of them."""

import os
import socket
import subprocess
import time
from pathlib import Path

from warm_python import warm_python


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(arguments: list[str], world: int, timeout: float = 300, env: dict[str, str] | None = None) -> None:
    """Run ``python arguments`` as ``world`` ranks; an error of any rank fails with its output."""
    port = str(free_port())
    processes = []
    for rank in range(world):
        variables = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "GROUP_RANK": "0",
            "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "TORCHELASTIC_RUN_ID": port,
            "OMP_NUM_THREADS": "1",
            **(env or {}),
        }
        processes.append(
            subprocess.Popen(
                [warm_python(), *arguments], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
    deadline = time.monotonic() + timeout
    try:
        outputs = [process.communicate(timeout=max(deadline - time.monotonic(), 1))[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for rank, (process, output) in enumerate(zip(processes, outputs, strict=True)):
        assert process.returncode == 0, f"rank {rank}:\n{output.decode()[-4000:]}"


HERE = Path(__file__).parent
