"""README and docs do what they say: every shell block is run, every document read, every link followed."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from support.pages import blocks, links, makefile_targets
from support.shell import alone, busy_still, shell
from tulle.resources.read import read

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PORTS = (8080, 8500, 15010)
LANGUAGES = {"bash", "sh", "console", "yaml", "json", "text", "python", "mermaid"}

each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
running_pages = [
    page for page in PAGES if any(block.is_shell and "run by CI" not in block.directives for block in blocks(page.read_text()))
]


@each_page
def test_every_block_says_its_language(page: Path) -> None:
    assert [(block.line, block.language) for block in blocks(page.read_text()) if block.language not in LANGUAGES] == []


@each_page
def test_documents_are_valid(page: Path) -> None:
    for block in blocks(page.read_text()):
        if block.language == "yaml" and "fragment" not in block.directives:
            result = read(block.text, str(page.relative_to(ROOT)))
            assert [str(v) for v in result.violations] == [], f"the block at line {block.line}"
            assert result.resources or result.meshes, f"the block at line {block.line} holds no document"


@each_page
def test_documents_of_the_tour_are_shown_as_they_are(page: Path) -> None:
    tour = files("tulle.demo") / "tour"
    for block in blocks(page.read_text()):
        name = Path(block.directives.get("file", "-")).name
        if block.language == "yaml" and (tour / name).is_file():
            assert block.text == (tour / name).read_text()


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    assert [target for target in links(page.read_text()) if not (page.parent / target).exists()] == []


def test_getting_started_leads_to_every_page() -> None:
    start = ROOT / "docs" / "getting-started.md"
    linked = {(start.parent / target).resolve() for target in links(start.read_text())}
    assert {page for page in PAGES if page.parent != ROOT} - linked - {start} == set()


@each_page
def test_what_is_run_by_ci_is_in_the_makefile(page: Path) -> None:
    targets = makefile_targets(ROOT / "Makefile")
    for block in blocks(page.read_text()):
        if "run by CI" in block.directives:
            for line in block.text.splitlines():
                typed = line.removeprefix("$ ").partition("#")[0].strip()
                if block.language != "console" or line.startswith("$ "):
                    assert re.fullmatch(r"make [a-z]+|\. \.venv/bin/activate|git clone \S+|cd tulle|", typed), line
                    assert not typed.startswith("make ") or typed.split()[1] in targets, line


@pytest.mark.envoy
@pytest.mark.xdist_group("ports")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", running_pages, ids=[str(page.relative_to(ROOT)) for page in running_pages])
def test_every_shell_block_does_what_the_page_says(page: Path, tmp_path: Path) -> None:
    with alone(PORTS):
        with shell(tmp_path) as session:
            for block in blocks(page.read_text()):
                session.run(block)
        assert busy_still(PORTS) == [], "the page leaves ports taken"
