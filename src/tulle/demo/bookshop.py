"""The files of the demo: the mesh file, what is in force from the start, and the rules of the tour."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from tulle.demo.ports import USUAL, Ports
from tulle.resources.read import read

MESH = "mesh.yaml"
BASE = "base.yaml"
_GATEWAY_PORT = "port: {{number: {}, name: http,"


def text(name: str, ports: Ports = USUAL) -> str:
    """A file of the demo, with the gateway on the port that it has."""
    folder = files("tulle.demo")
    place = folder / name if name == MESH else folder / "tour" / name
    return place.read_text(encoding="utf-8").replace(_GATEWAY_PORT.format(USUAL.gateway), _GATEWAY_PORT.format(ports.gateway))


def names() -> tuple[str, ...]:
    """All files: the mesh file first, then the others by name."""
    tour = sorted(entry.name for entry in (files("tulle.demo") / "tour").iterdir() if entry.name.endswith(".yaml"))
    return (MESH, *tour)


def save(folder: Path, ports: Ports = USUAL) -> tuple[Path, ...]:
    """Writes the files into a folder, which is made if need be. Raises FileExistsError rather than write over another file."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in names():
        path = folder / name
        with path.open("x", encoding="utf-8") as file:
            file.write(text(name, ports))
        written.append(path)
    return tuple(written)


def instances() -> int:
    """How many programs the mesh file starts."""
    mesh = read(text(MESH), MESH).meshes[0].spec
    return sum(workload.replicas for workload in mesh.workloads)
