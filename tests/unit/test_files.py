"""Bounded reading of regular files: pipes, devices and sockets are refused at once, sizes are kept to."""

import os
import socket
from pathlib import Path

import pytest

from mtl_lightning.errors import MtlError
from mtl_lightning.files import open_regular, read_regular


def test_a_file_is_read_whole_up_to_the_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(MtlError, match=r"file is larger than 4 bytes"):
        read_regular(path, 4)
    with pytest.raises(MtlError, match=r"larger than 4 bytes"):
        open_regular(path, 4)
    with open_regular(path) as stream:
        assert stream.read() == b"12345"


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_regular(tmp_path / "link", 10) == b"text"


def test_a_named_pipe_without_a_writer_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MtlError, match="pipe is a named pipe, not a regular file"):
        read_regular(tmp_path / "pipe", 10)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(device):
    if not Path(device).exists():
        pytest.skip("no such device")
    with pytest.raises(MtlError, match=r"not a regular file"):
        open_regular(device)


def test_a_directory_is_an_error_of_the_system(tmp_path):
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        open_regular(tmp_path)


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(MtlError, match="a socket, not a regular file"):
            open_regular("socket")


def test_a_file_whose_size_is_not_known_is_bounded_too():
    path = "/proc/self/status"  # says that it holds 0 bytes
    if not Path(path).exists():
        pytest.skip("no /proc")
    assert read_regular(path, 1_000_000)
    with pytest.raises(MtlError, match="larger than 10 bytes"):
        read_regular(path, 10)


def test_a_missing_file_stays_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 10)
