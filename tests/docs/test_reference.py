"""The reference pages are complete: every field and every command that exists is on its page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic.alias_generators import to_camel

from tulle.cli.main import ENTRIES
from tulle.resources.meshfile import Mesh, MeshGateway, MeshSettingsSpec, Workload, WorkloadJwt, WorkloadPort, WorkloadUpstream

DOCS = Path(__file__).parents[2] / "docs"
SECTIONS: tuple[tuple[str, Any], ...] = (
    ("`spec`", Mesh),
    ("`spec.workloads[]`", Workload),
    ("`ports[]`", WorkloadPort),
    ("`upstreams[]`", WorkloadUpstream),
    ("`jwt`", WorkloadJwt),
    ("`spec.gateway`", MeshGateway),
    ("`spec.settings`", MeshSettingsSpec),
)


def table_after(page: str, heading: str) -> Iterator[str]:
    """First cells of the first table below a line that begins with `heading`."""
    below = page.split(f"\n{heading}:", 1)[1].partition("\n\n")[2].partition("\n\n")[0]
    for row in below.splitlines()[2:]:
        yield re.findall(r"`([^`]+)`", row)[0].partition(".")[0]


@pytest.mark.parametrize(("heading", "spec"), SECTIONS, ids=[heading for heading, _ in SECTIONS])
def test_the_mesh_file_page_has_every_field(heading: str, spec: Any) -> None:
    page = (DOCS / "mesh-file.md").read_text()
    assert sorted(table_after(page, heading)) == sorted(to_camel(name) for name in spec.model_fields)


def test_the_command_line_page_has_every_command() -> None:
    page = (DOCS / "command-line.md").read_text()
    assert [name for name in ENTRIES if f"`tulle {name}" not in page] == []


def test_every_page_can_be_reached_from_the_first() -> None:
    seen: set[Path] = set()
    waiting = [DOCS / "getting-started.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page not in seen:
            seen.add(page)
            waiting += [page.parent / target for target in re.findall(r"\]\(([^)#:]+\.md)\)", page.read_text())]
    assert {path.resolve() for path in DOCS.rglob("*.md")} - seen == set()
