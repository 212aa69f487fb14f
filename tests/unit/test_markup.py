"""Tables of schemas and modules in notebooks: small, escaped, and in the colours of the notebook."""

import re

import torch

from mtl_lightning.build import build_module
from mtl_lightning.schema import Field, Schema, Task

SCHEMA = Schema(
    (
        Field(name="<script>user", kind="categorical", size=1200, table="user"),
        Field(name="seen", kind="sequence", size=1200, table="user", length=9),
    ),
    (
        Task(name="click", kind="binary", label="clicked"),
        Task(name="buy", kind="binary", label="a < b", observed_when="click == 1", parents=("click",), weight=2.5),
    ),
)


def plain(html: str) -> None:
    assert len(html) < 2000
    assert not re.search("style|script>|http|color", html)


def test_a_schema_shows_fields_and_tasks() -> None:
    html = SCHEMA._repr_html_()
    plain(html.replace("&lt;script&gt;user", ""))
    assert "<strong>2 fields, 2 tasks</strong>" in html
    assert "<td>seen</td><td>sequence</td><td>1,200</td><td>user</td><td>9</td>" in html
    assert "<td>a &lt; b</td><td>click == 1</td><td>click</td><td>2.5</td>" in html


def test_a_module_shows_its_parts_with_their_parameters() -> None:
    torch.manual_seed(0)
    module = build_module(SCHEMA, architecture="mmoe", weighter="uncertainty", heads={"buy": "esmm"})
    html = module._repr_html_()
    plain(html)
    assert html.startswith("<div><strong>MultiTaskModule</strong><table>")
    rows = re.findall("<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", html)
    assert [row[0] for row in rows] == ["encoder", "architecture", "head of click", "head of buy", "weighter"]
    assert [row[1] for row in rows][1:] == ["MMoE", "BinaryHead", "ESMMHead", "Uncertainty"]
    counted = sum(int(row[2].replace(",", "")) for row in rows)
    assert counted == sum(parameter.numel() for parameter in module.parameters())
