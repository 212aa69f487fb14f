"""``score.json`` of a run: the formula that ``tune score`` found, which ``export`` uses unless it is given another."""

from mtl_lightning.errors import MtlError
from mtl_lightning.runs.directory import RunDirectory

FILE, PAGE = "score.json", "score.html"


def tuned_formula(run: RunDirectory) -> str | None:
    """The tuned formula of a run; None if its score was not tuned.

    Raises:
        MtlError: If the file has no formula.
    """
    record = run.load_json(FILE)
    formula = None if record is None else record.get("formula")
    if record is not None and not isinstance(formula, str):
        raise MtlError(f"{run.path / FILE} has no formula", "run tune score again, or remove it")
    return formula
