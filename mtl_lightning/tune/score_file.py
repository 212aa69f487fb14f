"""``score.json`` of a run: the formula that ``tune score`` found, which ``export`` uses unless it is given another."""

from mtl_lightning.runs.directory import RunDirectory

FILE, PAGE = "score.json", "score.html"


def tuned_formula(run: RunDirectory) -> str | None:
    """The tuned formula of a run; None if its score was not tuned."""
    record = run.load_json(FILE)
    return None if record is None else str(record["formula"])
