"""Writing lines of raw log files, and how many rows they have."""

ROWS = 240


def lines(path, rows, separator, end="\n", encoding="utf-8"):
    text = "".join(separator.join(map(str, line)) + end for line in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
