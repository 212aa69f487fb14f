"""The Chinese README is in step with the English one: the same structure, the same code, the same links."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
BLOCK = re.compile(r"^```[^\n]*\n.*?^```$", flags=re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    return BLOCK.sub("", text)


def links(text: str) -> list[str]:
    others = ("README.md", "README.zh-CN.md")  # each links the other one
    return [link for link in re.findall(r"\]\(([^)]+)\)", text) if link not in others]


def sections(text: str) -> list[str]:
    return re.split(r"^## .*$", text, flags=re.MULTILINE)


def test_headings_have_the_same_levels_in_the_same_order() -> None:
    levels = [re.findall(r"^(#+) ", prose(text), flags=re.MULTILINE) for text in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]


def test_code_is_the_same_to_the_letter() -> None:
    assert BLOCK.findall(ENGLISH) == BLOCK.findall(CHINESE)


def test_every_section_has_the_same_links_blocks_and_points() -> None:
    for english, chinese in zip(sections(ENGLISH), sections(CHINESE), strict=True):
        assert sorted(links(english)) == sorted(links(chinese))
        assert BLOCK.findall(english) == BLOCK.findall(chinese)
        points = [re.findall(r"^- ", prose(text), flags=re.MULTILINE) for text in (english, chinese)]
        assert points[0] == points[1]


def test_code_in_the_text_is_the_same() -> None:
    words = [sorted(set(re.findall(r"`([^`]+)`", prose(text)))) for text in (ENGLISH, CHINESE)]
    assert [w for w in words[0] if not re.search(r"<.*>", w)] == [w for w in words[1] if not re.search(r"<.*>", w)]


def test_each_links_the_other() -> None:
    assert "(README.zh-CN.md)" in ENGLISH.split("\n## ")[0]
    assert "(README.md)" in CHINESE.split("\n## ")[0]


def test_it_is_chinese() -> None:
    for section in sections(CHINESE):
        text = prose(section)
        assert len(re.findall(r"[\u4e00-\u9fff]", text)) > 20
