"""The modelled exchange on the page is what the program computes."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_has_the_table_of_the_model(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import exchange

    try:
        machine = exchange.Machine()
        assert exchange.table(machine) in (ROOT / "docs" / "distributed.md").read_text()
        load = exchange.Load()
        assert exchange.flat(load, 8, machine)[0] == 7 * 8192 * 16 * 68
        assert exchange.by_node(load, 64, machine)[0] == 7 * 8192 * 16 * 68
    finally:
        for name in ("exchange", "into"):
            sys.modules.pop(name, None)
