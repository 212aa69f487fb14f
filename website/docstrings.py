"""Docstrings as the site shows them: ``Example:`` is the section that mkdocstrings calls ``Examples:``."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames the section, so that examples are shown as code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
