"""The page of a run: from a real run, in a browser, and from damaged or missing records."""

import json
import re

import pytest

from mtl_lightning.errors import MtlError
from mtl_lightning.report.run.page import PAGE, page_below, run_page, write_page
from mtl_lightning.report.run.record import read_record
from mtl_lightning.runs.directory import RunDirectory
from tests.support.browser import CHROMIUM, open_page
from tests.support.commands import run_command

SETTINGS = ("source.rows=3000", "data.batch_size=100", "trainer.max_epochs=2", "trainer.log_every_n_steps=5")
PROBE = """<script>
addEventListener("load", () => {
  const plots = [...document.querySelectorAll(".plots svg")].map(svg => svg.getBoundingClientRect());
  const body = getComputedStyle(document.body);
  document.body.dataset.seen = [
    plots.length,
    plots.every(plot => plot.width > 250 && plot.right <= document.documentElement.clientWidth + 1),
    document.documentElement.scrollWidth <= document.documentElement.clientWidth,
    body.backgroundColor,
  ].join(" ");
});
</script>"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    done = run_command(
        folder, "fit", "recipe=ads", *SETTINGS, "run.dir=first", "run.relations=5", "run.evaluation=true"
    )
    assert done.returncode == 0, done.stderr
    return RunDirectory.open(folder / "first")


def test_fit_writes_the_page_with_everything_that_was_recorded(run):
    html = (run.path / PAGE).read_text()
    assert "The run is complete." in html
    headings = re.findall("<h2>(.*?)</h2>", html)
    sections = ["Data", "Quality", "Training", "Detailed evaluation", "Relations between tasks", "Cost", "Settings"]
    assert [heading for heading in headings if heading in sections] == sections
    metrics = json.loads((run.path / "metrics.json").read_text())
    best = max(metrics["validations"], key=lambda entry: entry["metrics"]["validation/score"])["metrics"]
    row = f"<td>click auc</td><td>{best['validation/click/auc']:.4f}</td>"
    assert f"{row}<td>{metrics['test']['metrics']['test/click/auc']:.4f}</td>" in html
    titles = ("Training loss by task", "Task weights", "Validation, dwell", "Learning rate by parameter group")
    assert all(f">{title}</text>" in html for title in titles)
    assert html.count("<polyline") >= 3 + 3 + 3 + 1  # losses, weights, validations, score
    assert "seed: 0" in html
    assert not re.search("<script|https?://(?!www.w3.org)", html)


def test_report_writes_the_same_page_again_and_to_another_file(run):
    folder = run.path.parent
    done = run_command(folder, "report", "run=first", "out=copy.html", "--json")
    assert json.loads(done.stdout) == {"run": "first", "page": "copy.html"}
    assert (folder / "copy.html").read_text() == (run.path / PAGE).read_text()
    assert page_below(folder, run.path) == f"first/{PAGE}"
    assert page_below(folder, folder) is None


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("size", ["1200,900", "390,844"], ids=["desk", "phone"])
def test_a_browser_shows_all_plots_within_the_screen(run, size, tmp_path):
    document, messages = open_page((run.path / PAGE).read_text(), tmp_path, f"--window-size={size}", probe=PROBE)
    (seen,) = re.findall('data-seen="(.*?)"', document)
    assert seen.startswith("7 true true"), seen
    assert messages == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_dark_screen_gets_a_dark_page(run, tmp_path):
    dark, _ = open_page((run.path / PAGE).read_text(), tmp_path, "--blink-settings=preferredColorScheme=0", probe=PROBE)
    assert "rgb(22, 24, 28)" in dark


def test_a_run_without_records_says_what_is_missing(tmp_path):
    run = RunDirectory.create("ads", tmp_path / "new")
    run.save_config("password: <b>")
    html = run_page(read_record(run))
    assert "not complete, without a validation" in html
    assert "Training losses were not logged" in html
    assert "password: &lt;b&gt;" in html
    assert "<h2>Quality</h2>" not in html


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metrics.json", {"validations": [], "test": None, "evaluation": {"splits": 3}}),
        ("metrics.json", {"validations": [], "test": None, "relations": {"pairs": [{"tasks": 3}]}}),
        ("data.json", {"rows": [1]}),
        ("resources.json", {"step_ms": "fast"}),
        ("importance.json", {"tasks": {}, "items": [{"name": "user"}]}),
    ],
)
def test_a_damaged_record_is_named(file, content, tmp_path):
    run = RunDirectory.create("ads", tmp_path / "new")
    run.save_config("seed: 1")
    run.save_json(file, content)
    with pytest.raises(MtlError, match="its records can't be shown") as error:
        write_page(run)
    assert file in error.value.hint
