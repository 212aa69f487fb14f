"""A plugin that ends a run: it is imported by ``PYTHONPATH``, and environment variables choose the time.

``MTL_FAULT=<what>@<step>`` takes these values of ``what``; ``MTL_FAULT_LOG`` receives a line per step:

- ``kill``: SIGKILL in the middle of a step;
- ``kill-writing``: SIGKILL while the first checkpoint from that step on is half written;
- ``SIGINT``, ``SIGTERM``: a signal in the middle of a step;
- ``raise``: an error on rank ``MTL_FAULT_RANK``;
- ``stop``: an MtlError.

With ``MTL_FAULT_LINGER=<seconds>``, the first process takes so long to end after its child processes.

``MTL_FAULT=<what>@before:<hook>`` and ``…@after:<hook>`` do it where Lightning calls a hook: before every other
callback, or after them (when the module's hook is called); ``<hook>#2`` at the second time.
"""

import io
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mtl_lightning.errors import MtlError
from mtl_lightning.fitting import children
from mtl_lightning.hookspecs import hookimpl
from mtl_lightning.ranks import process_rank

MTL_API = 1
_save, _end = torch.save, children.end


def _linger(*arguments: Any, **options: Any) -> None:
    _end(*arguments, **options)
    time.sleep(float(os.environ.get("MTL_FAULT_LINGER", "0")))


children.end = _linger if process_rank() == 0 else _end


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _save_half(content: Any, file: Any) -> None:
    whole = io.BytesIO()
    _save(content, whole)
    file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    file.flush()
    _die()


class Fault(Callback):
    """Does what ``MTL_FAULT`` says, between the backward pass and the update."""

    def __init__(self, what: str, step: float) -> None:
        self.what, self.step, self.done = what, step, False

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
        if log := os.environ.get("MTL_FAULT_LOG"):
            with Path(log).open("a") as file:
                file.write(f"{trainer.global_rank} {trainer.global_step}\n")
        if not self.done and trainer.global_step >= self.step:
            self.strike(trainer)

    def strike(self, trainer: Trainer) -> None:
        """Do it, on the rank that is to blame."""
        if str(trainer.global_rank) != os.environ.get("MTL_FAULT_RANK", "0"):
            return
        self.done = True
        if self.what == "kill":
            _die()
        elif self.what == "kill-writing":
            torch.save = _save_half
        elif self.what == "raise":
            raise RuntimeError("a fault of the test")
        elif self.what == "stop":
            raise MtlError("a fault of the test", "there is nothing to do")
        else:
            os.kill(os.getpid(), getattr(signal, self.what))


class HookFault(Fault):
    """Does what ``MTL_FAULT`` says where Lightning calls a hook."""

    def __init__(self, what: str, place: str) -> None:
        super().__init__(what, float("inf"))
        order, _, hook = place.partition(":")
        self.hook, _, left = hook.partition("#")
        self.left, self.after = int(left or 1), order == "after"
        if not self.after:
            setattr(self, self.hook, lambda trainer, *_: self.count(trainer))

    def count(self, trainer: Trainer) -> None:
        self.left -= 1
        if self.left == 0:
            self.strike(trainer)

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if not self.after or hasattr(module, "fault"):
            return
        module.fault, own = self, getattr(module, self.hook)

        def then(*arguments: Any) -> Any:
            answer = own(*arguments)
            self.count(trainer)
            return answer

        setattr(module, self.hook, then)


@hookimpl
def mtl_callbacks(config: dict[str, Any]) -> list[Any]:
    """The fault, if one is ordered."""
    what, _, place = os.environ.get("MTL_FAULT", "").partition("@")
    if not what:
        return []
    return [Fault(what, int(place)) if place.isdecimal() else HookFault(what, place)]
