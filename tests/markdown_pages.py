"""Pages of documentation taken apart: headings, links, and blocks of code."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        ROOT / "samples/README.md",
        ROOT / "vidx4/weights/compact/README.md",
    )
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_INLINE_CODE = re.compile(r"`[^`\n]+`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code."""

    page: str
    language: str
    text: str
    number: int
    """Number of the block in its page, counted from 1."""

    def __str__(self) -> str:
        return f"{self.page}:{self.number}"


def read(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str) -> list[Block]:
    """Return the blocks of a page in one language."""
    found = enumerate(_FENCE.findall(read(page)), start=1)
    return [Block(page, each, text, number) for number, (each, text) in found if each == language]


def command_lines(page: str) -> list[list[str]]:
    """Return the commands in the shell blocks of a page, split into words, without comments."""
    lines = (line for block in blocks(page, "sh") for line in block.text.splitlines())
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def options_in_text(page: str) -> set[str]:
    """Return the options that a page names in code within its sentences, apart from commands of scripts."""
    code = _INLINE_CODE.findall(_FENCE.sub("", read(page)))
    return {option for each in code if "scripts" not in each for option in _OPTION.findall(each)}


def links(page: str) -> list[str]:
    """Return the targets of the links and pictures of a page that lie in the repository."""
    text = _INLINE_CODE.sub("", _FENCE.sub("", read(page)))
    return [target for target in _LINK.findall(text) if "://" not in target]


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", read(page))):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(anchor)
    return found
