"""Real Python processes that need not import torch first: they are forked from a server that has imported it.

``warm_python()`` is used like ``sys.executable``. It is a client that hands the server its arguments, directory,
environment and open files, passes signals on, and ends as the forked process ends. A forked process has interpreter
state, streams and an exit code of its own, and starts others in the same way. All of a server share the seed of
``hash``, and none can test what happens while torch is imported.
"""

import array
import functools
import json
import os
import signal
import socket
import sys
from typing import NoReturn

PRELOAD = ("mtl_lightning.fitting.run", "mtl_lightning.cli.app", "mtl_lightning.predictions")
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIZE = 8
"""Bytes of a number in a message."""


@functools.cache
def warm_python() -> str:
    """Program that runs ``-m module``, ``-c code`` or a script in a warm process; ``sys.executable`` without Linux.

    ``mtl-lightning`` is next to it.
    """
    import atexit
    import subprocess
    import tempfile
    from pathlib import Path

    if sys.platform != "linux":
        return sys.executable
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {__file__} {folder / "socket"} "$@"\n')
    (folder / "mtl-lightning").write_text(f'#!/bin/sh\nexec {program} -m mtl_lightning "$@"\n')
    for script in folder.iterdir():
        script.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen(64)
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("MTL_", "PYTEST_"))}
        server = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno()), program],
            env=plain | {"OMP_NUM_THREADS": "1"},
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
        )
    atexit.register(server.kill)
    return str(program)


def run_client(address: str, arguments: list[str]) -> NoReturn:
    """Run a process of the server at an address, and end as it ends."""
    rest = list(arguments)
    while rest and rest[0] in ("-B", "-u", "-X", "-W"):
        del rest[: 2 if rest[0] in ("-X", "-W") else 1]
    if not rest or (rest[0].startswith("-") and rest[0] not in ("-c", "-m")):
        os.execv(sys.executable, [sys.executable, *arguments])
    files = sorted(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 (quicker to import)
    files = [file for file in files if os.path.exists(f"/proc/self/fd/{file}")]  # noqa: PTH110
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    request = json.dumps([rest, files, os.getcwd(), dict(os.environ)]).encode()  # noqa: PTH109
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
    connection.sendmsg([len(request).to_bytes(SIZE, "big")], rights)
    connection.sendall(request)
    for file in files[3:]:
        os.close(file)
    pid = int.from_bytes(connection.recv(SIZE), "big")
    for number in FORWARDED:
        signal.signal(number, lambda received, _: os.kill(pid, received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    end_with(int.from_bytes(connection.recv(SIZE), "big", signed=True))


def end_with(code: int) -> NoReturn:
    """End this process with an exit code, or by a signal if it is negative."""
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


def serve(listener: socket.socket, program: str) -> list[str]:
    """Fork processes for clients until pytest has ended; return the arguments of one, in its process."""
    import gc
    import importlib
    import multiprocessing
    import select

    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in PRELOAD:
        importlib.import_module(module)
    gc.freeze()
    sys.executable = program
    multiprocessing.set_executable(program)
    clients: dict[int, tuple[int, int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([listener, *clients], [], [], 5)
        if os.getppid() != parent:
            os._exit(0)
        for file in ready:
            if file is listener:
                connection, _ = listener.accept()
                header, files, _, _ = socket.recv_fds(connection, SIZE, 250)
                request = json.loads(connection.makefile("rb").read(int.from_bytes(header, "big")))
                pid = os.fork()
                if pid == 0:
                    for other in (listener, connection, *(client[2] for client in clients.values())):
                        other.close()
                    return become(files, *request)
                for received in files:
                    os.close(received)
                process = os.pidfd_open(pid)
                clients[process] = clients[connection.fileno()] = (pid, process, connection)
                connection.sendall(pid.to_bytes(SIZE, "big"))
            elif file in clients:
                pid, process, connection = clients.pop(file)
                if file != process:  # the client was killed: so is its process
                    os.kill(pid, signal.SIGKILL)
                    continue
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                if clients.pop(connection.fileno(), None):
                    connection.sendall(code.to_bytes(SIZE, "big", signed=True))
                connection.close()
                os.close(process)


def become(
    received: list[int], arguments: list[str], files: list[int], folder: str, variables: dict[str, str]
) -> list[str]:
    """Take files, directory and environment of a client, as a new process would."""
    import fcntl
    import importlib
    import multiprocessing.process

    copies = [fcntl.fcntl(file, fcntl.F_DUPFD, max(files) + 1) for file in received]
    for file in received:
        os.close(file)
    for file, number in zip(copies, files, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    multiprocessing.process.ORIGINAL_DIR = folder
    os.environ.clear()
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[:1] = [folder, *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))]
    importlib.invalidate_caches()
    sys.modules["torch"].set_num_threads(int(variables.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    return arguments


def run(arguments: list[str]) -> None:
    """Run ``-m module``, ``-c code`` or a script as the interpreter would."""
    import runpy
    import types

    kind, *rest = arguments
    if kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), module.__dict__)
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.realpath(kind))  # noqa: PTH120
        runpy.run_path(kind, run_name="__main__")


def run_to_the_end(arguments: list[str]) -> NoReturn:
    """Run what the arguments say and end as the interpreter would, but for the second in which it frees modules."""
    import atexit
    import threading

    code: object = 0
    try:
        run(arguments)
    except SystemExit as end:
        code = end.code or 0
    except BaseException as error:  # noqa: BLE001 (the interpreter catches all)
        sys.excepthook(type(error), error, error.__traceback__)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:  # by the program, as json.tool does
            stream.flush()
    end_with(code)


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        run_to_the_end(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2]))
    run_client(sys.argv[1], sys.argv[2:])
