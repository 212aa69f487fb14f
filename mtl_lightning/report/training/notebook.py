"""Progress of a training in a notebook."""

from html import escape
from typing import Any


class _Html:
    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_html_(self) -> str:
        return self.text


class NotebookProgress:
    """A progress bar in the output of a notebook's cell, with the methods of rich's that a training uses.

    It is one HTML element that is replaced in place. Every frontend shows it in its own colours, and no widgets need to
    be installed; rich's own needs them.

    Args:
        show: Function like ``IPython.display.display``; None for that one.

    Example:
        >>> shown = []
        >>> class Handle:
        ...     def update(self, html):
        ...         shown.append(html._repr_html_())
        >>> progress = NotebookProgress(lambda html, display_id: Handle())
        >>> bar = progress.add_task("training", note="")
        >>> progress.start()
        >>> progress.reset(bar, total=10)
        >>> progress.update(bar, completed=4, note="loss <1")
        >>> shown[-1]
        '<progress value="4" max="10"></progress> training 4/10 loss &lt;1'
        >>> progress.stop()
        >>> shown[-1]
        ''
    """

    def __init__(self, show: Any = None) -> None:
        self._show = show
        self._handle: Any = None
        self._state: dict[str, Any] = {"completed": 0, "total": None}

    def add_task(self, description: str, *, note: str) -> int:
        """Set the first description and note; returns the bar's number, as there is one only."""
        self._state |= {"description": description, "note": note}
        return 0

    def start(self) -> None:
        """Show the bar."""
        if self._show is None:
            from IPython.display import display

            self._show = display
        self._handle = self._show(self._html(), display_id=True)

    def reset(self, bar: int, *, total: int | None) -> None:
        """Begin anew with another number of batches; None if it is unknown."""
        self.update(bar, completed=0, total=total)

    def update(self, bar: int, **state: Any) -> None:
        """Change ``description``, ``completed`` or ``note``."""
        self._state |= state
        if self._handle is not None:
            self._handle.update(self._html())

    def stop(self) -> None:
        """Remove the bar."""
        if self._handle is not None:
            self._handle.update(_Html(""))
            self._handle = None

    def _html(self) -> _Html:
        completed, total = self._state["completed"], self._state["total"]
        bar = "<progress></progress>" if total is None else f'<progress value="{completed}" max="{total}"></progress>'
        words = f"{self._state['description']} {completed}{'' if total is None else f'/{total}'} {self._state['note']}"
        return _Html(f"{bar} {escape(words)}")
