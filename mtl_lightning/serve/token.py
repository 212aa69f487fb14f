"""Token that requests must bring, from a file or the environment, never from the command line."""

import os
from collections.abc import Mapping
from pathlib import Path

from mtl_lightning.errors import MtlError

VARIABLE = "MTL_SERVE_TOKEN"
"""Environment variable with the token."""

SHORTEST = 16
"""Smallest number of characters of a token."""


def read_token(path: str = "", environment: Mapping[str, str] = os.environ) -> str | None:
    """Read the token.

    Args:
        path: File with the token, in one line; empty for the environment variable.
        environment: Environment variables.

    Returns:
        The token; None if neither a file nor the variable is given.

    Raises:
        MtlError: If the file cannot be read, or the token is short or has other characters than visible ASCII.

    Example:
        >>> read_token("", {}) is None, read_token("", {"MTL_SERVE_TOKEN": "0123456789abcdef"})
        (True, '0123456789abcdef')
    """
    if path:
        try:
            token = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise MtlError(f"token_file: {path} can't be read: {reason}") from error
        place = f"token_file: the token in {path}"
    elif VARIABLE in environment:
        token, place = environment[VARIABLE], f"{VARIABLE}: the token"
    else:
        return None
    if len(token) < SHORTEST:
        raise MtlError(f"{place} has {len(token)} characters", f"use at least {SHORTEST}: openssl rand -hex 32")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise MtlError(f"{place} has blanks or characters other than ASCII", "openssl rand -hex 32")
    return token
