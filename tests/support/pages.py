"""Pages of documentation, read as what they ask the reader to do.

A fenced block is one of these, by its language:

- `bash`, `sh`: commands; the shell must reach their end without an error.
- `console`: lines that start with `$ ` are commands (`> ` continues one), the lines below are what they must print.
  `...` stands for any text within a line, and on a line of its own for any number of lines.
- `yaml`: documents, which must be valid.
- anything else is for reading only.

An HTML comment right above a block says more about it:

- `<!-- file: NAME -->`: the reader saves it under that name.
- `<!-- background -->`: runs in a terminal of its own, from when its output is as shown until the page ends; then it gets Ctrl-C.
- `<!-- exit: N -->`: the last command ends with status N.
- `<!-- run by CI -->`: only targets of the Makefile, which are run elsewhere.
- `<!-- fragment -->`: a part of a document, for reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHELLS = ("bash", "sh")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)[^`]*$")
_COMMENT = re.compile(r"^\s*<!--\s*(?P<name>[^:]+?)\s*(?::\s*(?P<value>.*?)\s*)?-->\s*$")
DIRECTIVES = frozenset({"file", "background", "exit", "run by CI", "fragment"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to type, and the output that the page promises (None: it promises nothing)."""

    text: str
    output: str | None
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block. `line` is that of its first line of content."""

    language: str
    text: str
    line: int
    directives: dict[str, str]

    @property
    def is_shell(self) -> bool:
        return self.language in (*SHELLS, "console")

    def commands(self) -> tuple[Command, ...]:
        """The commands of a shell block, in order."""
        if self.language in SHELLS:
            return (Command(text=self.text, output=None, line=self.line),)
        return tuple(_console(self.text, self.line))


def _console(text: str, first: int) -> Iterator[Command]:
    typed: list[str] = []
    shown: list[str] = []
    start = first
    for number, line in enumerate(text.splitlines(), first):
        if line.startswith("$ "):
            if typed:
                yield _command(typed, shown, start)
            typed, shown, start = [line[2:]], [], number
        elif not typed:
            raise ValueError(f"line {number}: a console block starts with a command")
        elif line.startswith("> ") and not shown:
            typed.append(line[2:])
        elif line == ">" and not shown:
            typed.append("")
        else:
            shown.append(line)
    if typed:
        yield _command(typed, shown, start)


def _command(typed: list[str], shown: list[str], line: int) -> Command:
    output = "\n".join(shown)
    return Command(text="\n".join(typed), output=output if output.strip() else None, line=line)


def blocks(text: str) -> tuple[Block, ...]:
    """All fenced blocks of a page. Raises ValueError for a fence that is not closed and for a directive that does not exist."""
    found: list[Block] = []
    directives: dict[str, str] = {}
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if comment := _COMMENT.match(line):
            name = comment["name"]
            if name in DIRECTIVES:
                directives[name] = comment["value"] or ""
            continue
        if fence := _FENCE.match(line):
            body = _body(lines, fence["indent"], number)
            found.append(Block(language=fence["language"], text=body, line=number + 1, directives=directives))
        if line.strip():
            directives = {}
    return tuple(found)


def _body(lines: Iterator[tuple[int, str]], indent: str, start: int) -> str:
    body = []
    for _, line in lines:
        if line.strip() == "```":
            return "".join(f"{part}\n" for part in body)
        body.append(line.removeprefix(indent))
    raise ValueError(f"line {start}: the block is never closed")


def matches(expected: str, actual: str, *, so_far: bool = False) -> bool:
    """Whether output is as the page shows it. With `so_far` more may follow."""
    pattern = ""
    for line in _lines(expected):
        pattern += r"(?:[^\n]*\n)*?" if line == "..." else ".*?".join(re.escape(part) for part in line.split("...")) + r"\n"
    text = "".join(f"{line}\n" for line in _lines(actual))
    return re.fullmatch(pattern + (r"[\s\S]*" if so_far else ""), text) is not None


def _lines(text: str) -> list[str]:
    """Without trailing blanks, and without empty lines at either end."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n").splitlines()


def links(text: str) -> tuple[str, ...]:
    """Targets of the links that lead to files beside the page, without their anchors."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    return tuple(t.partition("#")[0] for t in targets if "://" not in t and not t.startswith(("#", "mailto:")))


def makefile_targets(makefile: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z][\w-]*):", makefile.read_text(), flags=re.MULTILINE))
