"""Checks of the language of docstrings, comments, messages and pages: banned words, long sentences, unclear names.

Usage: python tests/support/prose.py [--all] PATH …

Prints one problem a line, ``file:line: problem``. With ``--all`` also sentences of more than 25 words, which are
advice; sentences of more than 40 words are always problems.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LONGEST = 40
ADVISED = 25

BANNED = {
    r"\btells?\b|\btold\b": "report, say, show",
    r"\b(?:go|goes|going|went|gone) on\b": "resume, continue",
    r"\b(?:lies|stands)\b": "is in, is stored in",
    r"(?<!there )(?<!There )\b(?:is|are|was) no\b(?! longer| more| fewer| less| slower| larger)": "is not a",
    r"\bbeside\b": "next to, alongside, besides",
    r"\bwants?\b|\bshall\b": "needs, requires, should",
    r"\bor else\b|\belse[,;:]|[,;] else\b|\bElse\b": "otherwise",
    r"\b(?:that|those) of\b(?! the same)": "name the thing again",
    r"\bwhat is left of\b": "what remains, the rest of",
    r"\bhouse\b|\brooms?\b|\bdoors?\b|\bwalks?\b": "a metaphor: name the thing",
    r"\bcourses? of the\b": "learning-rate schedule",
    r"\b(?:isn't|aren't|is not|are not) known\b": "unknown",
    r"\bsomebody\b|\bnobody\b": "name who",
    r"\bin vain\b|\bat all costs\b": "say it plainly",
    r"\bthereby\b|\bwherefrom\b|\bwhereof\b|\btherein\b|\bthereof\b": "say it plainly",
}
"""Banned expressions and what to write for them (see "Prose" in CONTRIBUTING.md)."""

UNCLEAR_NAMES = {"found", "told", "kept", "made", "each", "one"}
"""Names that describe grammar, not content."""

OPENING = re.compile(r"^(?:What|How|Which|Whether|Where|Who|When|Why)\b")
SPANS = re.compile(r"``[^`]*``|`[^`]*`|:\w+:`[^`]*`|\$[^$]*\$|<[^>]*>|https?://\S+")
END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`*\[(\"'…])|\n\s*\n|\n\s*(?:[-*|#>]|\d+\.)\s")


@dataclass(frozen=True)
class Problem:
    """One place where the language breaks a rule."""

    path: Path
    line: int
    text: str
    advice: bool = False

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def plain(text: str) -> str:
    """The text with code, formulas and addresses replaced by a space holder of one word."""
    return SPANS.sub("x", text)


def banned(path: Path, line: int, text: str) -> Iterator[Problem]:
    """Banned expressions of a text that starts at this line."""
    for number, part in enumerate(plain_lines(text)):
        for pattern, instead in BANNED.items():
            for match in re.finditer(pattern, part):
                yield Problem(path, line + number, f"{match.group()!r}: {instead}")


def plain_lines(text: str) -> list[str]:
    """Lines of a text, with code, formulas and addresses replaced."""
    return [plain(part) for part in text.split("\n")]


def long_sentences(path: Path, line: int, text: str) -> Iterator[Problem]:
    """Sentences that are longer than the limits."""
    start = 0
    for end in [*END.finditer(text), None]:
        sentence = text[start : end.start() if end else len(text)]
        words = len(re.findall(r"\w[\w'’-]*", plain(sentence.replace("\n", " "))))
        if words > ADVISED:
            place = line + text[:start].count("\n") + len(sentence) - len(sentence.lstrip("\n"))
            opening = " ".join(sentence.split()[:6])
            yield Problem(path, place, f"a sentence of {words} words: {opening} …", advice=words <= LONGEST)
        start = end.end() if end else len(text)


def without_examples(docstring: str) -> str:
    """The docstring with its doctest lines blanked."""
    lines, inside = [], False
    for part in docstring.split("\n"):
        inside = part.lstrip().startswith(">>>") or (inside and bool(part.strip()))
        lines.append("" if inside else part)
    return "\n".join(lines)


def without_literals(docstring: str) -> str:
    """The docstring with its literal blocks, which follow a line that ends in ``::``, blanked."""
    return re.sub(r"(?m)(?<=::\n)((?:[ \t]*\n|    .*\n)+)", lambda match: "\n" * match[0].count("\n"), docstring)


def docstring_problems(path: Path, node: ast.Constant) -> Iterator[Problem]:
    """Problems of one docstring."""
    text = without_literals(without_examples(str(node.value)))
    if OPENING.match(text.strip()):
        yield Problem(path, node.lineno, f"a docstring opens with {text.split()[0]!r}: use an imperative or a noun")
    yield from banned(path, node.lineno, text)
    yield from long_sentences(path, node.lineno, re.sub(r"\n(\s*\w+: )", r"\n\n\1", text))


def module_problems(path: Path) -> Iterator[Problem]:
    """Problems of a Python file: docstrings, comments, messages and names."""
    source = filled(path.read_text())
    tree = ast.parse(source)
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    # Attributes that a class declares may be the keys of a saved state, which stay.
    declared = {
        id(part.target)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for part in node.body
        if isinstance(part, ast.AnnAssign) and part.value is None
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in docstrings:
                yield from docstring_problems(path, node)
            elif " " in node.value.strip():
                yield from banned(path, node.lineno, node.value)
        name = node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else ""
        name = node.arg if isinstance(node, ast.arg) else name
        if name in UNCLEAR_NAMES and id(node) not in declared:
            yield Problem(path, getattr(node, "lineno", 0), f"a variable {name!r}: name what it holds")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield from banned(path, token.start[0], token.string)


def page_problems(path: Path) -> Iterator[Problem]:
    """Problems of a page in Markdown or YAML comments; code blocks are left out."""
    text = filled(path.read_text())
    suffix = kind(path)
    if suffix == ".md":
        text = re.sub(r"(?ms)^( *)```.*?^\1```", lambda match: "\n" * match.group().count("\n"), text)
        text = re.sub(r"(?m)^ *\|.*$", "", text) if "results" in path.parts else text
    else:
        text = "\n".join(part.split("#", 1)[1] if "#" in part else "" for part in text.split("\n"))
    yield from banned(path, 1, text)
    if suffix == ".md":
        yield from long_sentences(path, 1, re.sub(r"\|", "\n\n", text) if "|" in text else text)


def kind(path: Path) -> str:
    """Suffix of a file, for a template the suffix of the file that it makes."""
    return Path(path.stem).suffix if path.suffix == ".tmpl" else path.suffix


def filled(text: str) -> str:
    """A template with its placeholders filled."""
    return re.sub(r"\{\{\w+\}\}", "Name", text)


def problems(path: Path) -> Iterator[Problem]:
    """Problems of a file or of all files in a folder."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if kind(file) in (".py", ".md", ".yaml") and not file.name.endswith(".zh-CN.md"):
                yield from problems(file)
    elif kind(path) == ".py":
        yield from module_problems(path)
    elif kind(path) in (".md", ".yaml"):
        yield from page_problems(path)


def main() -> None:
    """Print the problems of the paths on the command line; exit code 1 if there are any."""
    paths = [Path(name) for name in sys.argv[1:] if name != "--all"]
    count = 0
    for path in paths:
        for problem in problems(path):
            if not problem.advice or "--all" in sys.argv:
                count += 1
                sys.stdout.write(f"{problem}\n")
    sys.stdout.write(f"{count} problems\n")
    sys.exit(bool(count))


if __name__ == "__main__":
    main()
