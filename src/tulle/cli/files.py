"""Which files a command is about."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tulle.cli.failure import Failure

if TYPE_CHECKING:
    from tulle.model.resource import Resource
    from tulle.resources.meshfile import Mesh

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "<stdin>"

Filenames = Annotated[
    list[str] | None, typer.Option("--filename", "-f", help="A file, a folder, or - for standard input. May be repeated.", metavar="PATH")
]
MorePaths = Annotated[list[str] | None, typer.Argument(help="More files and folders.", metavar="[PATH]...")]


def read_files(*names: Iterable[str] | None) -> list[tuple[str, str]]:
    """Path and text of every file that is meant; of folders, all that end in .yaml, .yml or .json, at any depth."""
    files = [file for group in names for name in group or () for file in _files(name)]
    if not files:
        raise Failure("no files given: name them with -f PATH", 2)
    return files


def configured(mesh: Resource[Mesh], files: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The documents that a mesh file names and that are not among `files`. Raises Failure with the line of what cannot be read."""
    folder = Path(mesh.origin.path).parent
    known = {Path(path).resolve() for path, _ in files}
    for index, name in enumerate(mesh.spec.config):
        try:
            found = read_files([str(folder / name)])
        except Failure as failure:
            raise Failure(f"{mesh.at(f'spec.config[{index}]').origin}: {failure}", failure.exit_code) from None
        yield from ((path, text) for path, text in found if Path(path).resolve() not in known)


def forms(files: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """As the API takes them."""
    return [{"path": path, "text": text} for path, text in files]


def _files(name: str) -> Iterator[tuple[str, str]]:
    if name == "-":
        yield STDIN, _text(STDIN, sys.stdin.buffer.read())
        return
    path = Path(name)
    found = list(_in_folder(path)) if path.is_dir() else [path]
    if not found:
        raise Failure(f"{name}: no file in this folder ends in .yaml, .yml or .json", 2)
    for file in found:
        try:
            yield str(file), _text(str(file), file.read_bytes())
        except OSError as error:
            raise Failure(f"{file}: {error.strerror}", 2) from None


def _in_folder(folder: Path) -> Iterator[Path]:
    """In the order of their names. What is hidden is not meant."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _in_folder(entry)
        elif entry.suffix.lower() in SUFFIXES:
            yield entry


def _text(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Failure(f"{path}:{line}: is not UTF-8 text", 2) from None
