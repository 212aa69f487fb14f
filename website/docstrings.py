"""Docstrings as the site shows them."""

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Names the section of examples as mkdocstrings does, so that they are shown as code, and shows roles as names."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change one docstring."""
        if obj.docstring is not None:
            text = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r":(?:attr|class|data|exc|func|meth|mod):`~?([^`]+)`", r"`\1`", text)
