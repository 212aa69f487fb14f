"""Heat maps of matrices, without a plotting library: SVG for pages, PNG for TensorBoard, in the same colours."""

import struct
import zlib
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from mtl_lightning.report.render.svg import WIDTH, svg, text

Matrix = Sequence[Sequence[float | None]]
Colour = tuple[int, int, int]

LOW, MIDDLE, HIGH, UNKNOWN = (178, 24, 43), (247, 247, 247), (33, 102, 172), (190, 190, 190)
LEFT, CELL, TOP = 190.0, 34.0, 56.0
PIXELS = 24
"""Height and width of a cell of a PNG."""


def colour(value: float | None, least: float = -1.0, most: float = 1.0) -> Colour:
    """Colour of a value, from red (−``most``) over white (0) to blue (``most``); grey for None.

    With ``least=0`` the scale is from white to blue.

    Example:
        >>> colour(0.0), colour(1.0), colour(-5.0), colour(None)
        ((247, 247, 247), (33, 102, 172), (178, 24, 43), (190, 190, 190))
    """
    if value is None:
        return UNKNOWN
    bounded = min(max(value / most, least), 1.0)
    end, share = (HIGH, bounded) if bounded >= 0 else (LOW, -bounded)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(MIDDLE, end, strict=True))
    return red, green, blue


def heatmap(
    title: str, rows: Sequence[str], columns: Sequence[str], values: Matrix, least: float = -1.0, most: float = 1.0
) -> str:
    """Heat map of a matrix as SVG, with the value in each cell.

    Args:
        title: Title above the plot.
        rows: Names of the rows.
        columns: Names of the columns; long ones are cut.
        values: Values, printed even if they are beyond the colour scale; None is printed as a dash.
        least: −1, or 0 for non-negative values.
        most: Value of the darkest colour.

    Example:
        >>> picture = heatmap("cosine", ["click", "hide"], ["click", "hide"], [[1.0, -0.5], [-0.5, None]])
        >>> picture.count("<rect"), "−0.50" in picture
        (4, True)
    """
    longest = max((len(name) for name in columns), default=0)
    width = min(max(2.2 * CELL, 7.5 * (longest + 1)), (WIDTH - LEFT - 10) / max(len(columns), 1))
    places = max(int(width / 7.5), 2)
    parts = [text(10, 16, title, "title")]
    parts += [text(LEFT + (j + 0.5) * width, TOP - 8, _cut(name, places), "tick") for j, name in enumerate(columns)]
    for i, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = TOP + i * CELL
        parts.append(text(LEFT - 8, y + CELL / 2 + 4, _cut(name, 24), "name"))
        for j, value in enumerate(row):
            red, green, blue = colour(value, least, most)
            ink = "#fff" if red + 1.5 * green + blue < 480 else "#222"
            x = LEFT + j * width
            shown = _shown(value, places)
            # Inline colours: a page keeps them when it is saved or printed without its style sheet.
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width - 1:.1f}" height="{CELL - 1:.1f}" '
                f'fill="rgb({red},{green},{blue})"><title>{escape(f"{name}, {columns[j]}: {shown}")}</title></rect>'
                f'<text x="{x + width / 2:.1f}" y="{y + CELL / 2 + 4:.1f}" text-anchor="middle" '
                f'fill="{ink}">{escape(shown)}</text>'
            )
    return svg(title, TOP + len(rows) * CELL + 10, parts)


def _cut(words: str, places: int) -> str:
    return words if len(words) <= places else f"{words[: places - 1]}…"


def _shown(value: float | None, places: int) -> str:
    if value is None:
        return "–"
    return f"{value:.{2 if places > 4 else 1}f}".replace("-", "−")


def pixels(values: Matrix, least: float = -1.0, most: float = 1.0) -> NDArray[np.uint8]:
    """Heat map of a matrix as an image with :data:`PIXELS` per cell, [rows · PIXELS, columns · PIXELS, 3].

    Example:
        >>> image = pixels([[1.0, None]])
        >>> image.shape, image[3, 3].tolist(), image[3, 30].tolist()
        ((24, 48, 3), [33, 102, 172], [190, 190, 190])
    """
    cells = np.array([[colour(value, least, most) for value in row] for row in values], dtype=np.uint8)
    image = cells.repeat(PIXELS, axis=0).repeat(PIXELS, axis=1)
    image[PIXELS - 1 :: PIXELS] = 255  # a line between cells
    image[:, PIXELS - 1 :: PIXELS] = 255
    return image


def png(image: NDArray[np.uint8]) -> bytes:
    """Content of a PNG file with an image [H, W, 3].

    Example:
        >>> png(pixels([[0.5]]))[1:4]
        b'PNG'
    """
    height, width, _ = image.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, width * 3)], axis=1)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes())) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def legend(rows: Sequence[str], columns: Sequence[str], values: Matrix, pattern: str = ".2f") -> str:
    """Matrix as a Markdown table with row and column names.

    Args:
        rows: Names of the rows.
        columns: Names of the columns.
        values: Values; None is printed as a dash.
        pattern: Format of numbers.

    Example:
        >>> print(legend(["a"], ["a", "b"], [[1.0, None]]))
        | | a | b |
        |---|---|---|
        | a | 1.00 | – |
    """
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | "
        + " | ".join("–" if value is None else format(value, pattern).replace("-", "−") for value in row)
        + " |"
        for name, row in zip(rows, values, strict=True)
    ]
    return "\n".join(lines)


def largest(values: Matrix) -> float:
    """Largest value, for the colour scale of a matrix of shares; 1 if no value is above 0.

    Example:
        >>> largest([[0.2, None], [0.4, 0.1]])
        0.4
    """
    return max((value for row in values for value in row if value), default=0.0) or 1.0
