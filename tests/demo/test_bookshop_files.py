"""The files of the demo: valid, complete, and with the gateway where it was asked for."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.running import free_port
from tulle.demo import bookshop
from tulle.demo.ports import Ports, choose, is_free
from tulle.demo.steps import STEPS
from tulle.resources.networking.gateway import Gateway
from tulle.resources.read import read


@pytest.mark.parametrize("name", bookshop.names())
def test_every_file_is_valid_and_free_of_warnings(name: str) -> None:
    result = read(bookshop.text(name), name)
    assert result.violations == ()
    assert result.warnings == ()
    assert result.resources or result.meshes


def test_each_station_has_its_file_and_each_file_its_station() -> None:
    assert {bookshop.MESH, bookshop.BASE, *(step.file for step in STEPS)} == set(bookshop.names())


def test_the_gateway_is_where_it_was_asked_for() -> None:
    gateways = [r.spec for r in read(bookshop.text(bookshop.BASE, Ports(gateway=18080)), "").resources if isinstance(r.spec, Gateway)]
    assert [server.port.number for gateway in gateways for server in gateway.servers] == [18080]
    assert "{number: 8080}" in bookshop.text("retries.yaml", Ports(gateway=18080)), "echo's own port stays"


def test_saved_files_are_those_of_the_tour_and_nothing_is_written_over(tmp_path: Path) -> None:
    written = bookshop.save(tmp_path / "deep" / "bookshop")
    assert [path.name for path in written] == list(bookshop.names())
    assert all(path.read_text() == bookshop.text(path.name) for path in written)
    written[0].write_text("mine")
    with pytest.raises(FileExistsError):
        bookshop.save(tmp_path / "deep" / "bookshop")
    assert written[0].read_text() == "mine"


def test_twelve_programs_and_all_versions() -> None:
    assert bookshop.instances() == 12


def test_a_port_that_is_taken_is_named_and_another_chosen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port, free = taken.getsockname()[1], free_port()
        chosen, sentences = choose(Ports(gateway=port, api=free, xds=0))
        assert chosen.api == free
        assert chosen.gateway != port
        assert len({chosen.gateway, chosen.api, chosen.xds}) == 3
        assert all(is_free(number) for number in (chosen.gateway, chosen.xds))
        assert sentences == (f"Port {port} is taken by another program: the gateway is on {chosen.gateway} instead.",)


def test_the_command_writes_the_files_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tulle.cli.main", "demo", "--save", "shop"]
    first, second = (subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60) for _ in range(2))
    assert (first.returncode, first.stdout.split()) == (0, [f"shop/{name}" for name in bookshop.names()])
    assert (second.returncode, second.stderr) == (1, "tulle: cannot write shop/mesh.yaml: File exists\n")
