"""Commands against a control plane that speaks TLS: what helps to get in, and what is said otherwise."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator

import pytest

from support.guarded import Guarded, guarded


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("secure")) as running:
        yield running


def tulle(mesh: Guarded, *arguments: str, scheme: str = "https") -> tuple[int, str]:
    return asyncio.run(mesh.place.tulle(*arguments, "--server", f"{scheme}://127.0.0.1:{mesh.place.api}"))


def known(mesh: Guarded, *arguments: str) -> tuple[int, str]:
    files = ("--ca-file", str(mesh.state / "ca" / "current" / "root-cert.pem"), "--token-file", str(mesh.state / "admin-token"))
    return asyncio.run(mesh.place.tulle(*files, *arguments, "--server", mesh.api))


def test_an_unknown_root_is_told_with_what_to_do(mesh: Guarded) -> None:
    code, output = tulle(mesh, "get", "all")
    assert code == 2
    assert "is not trusted" in output
    assert "--ca-file" in output
    assert "ca/current/root-cert.pem" in output
    assert "Traceback" not in output


def test_plain_text_is_told_with_what_to_do(mesh: Guarded) -> None:
    code, output = tulle(mesh, "get", "all", scheme="http")
    assert (code, "closed the connection" in output, "https://" in output) == (2, True, True)


def test_files_that_are_none(mesh: Guarded) -> None:
    for option, path, why in (
        ("--ca-file", "/nowhere", "cannot be read"),
        ("--ca-file", str(mesh.state / "admin-token"), "holds no certificate"),
        ("--cert-file", "/nowhere", "of no use without the other"),
    ):
        code, output = asyncio.run(mesh.place.tulle(option, path, "get", "all", "--server", mesh.api))
        assert (code, why in output) == (2, True), output


def test_roots_for_other_machines(mesh: Guarded) -> None:
    code, output = known(mesh, "ca", "roots")
    assert (code, output) == (0, mesh.roots)


def test_a_client_certificate_from_its_making_to_its_end(mesh: Guarded) -> None:
    code, output = known(mesh, "ca", "issue", "--role", "viewer", "--name", "dashboard", "--out", "files")
    assert (code, "viewer, holds until" in output) == (0, True), output
    folder = mesh.place.folder / "files"
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(
        ("ca.pem", "cert.pem", "key.pem"), 0o600
    )
    shown = ("--ca-file", "files/ca.pem", "--cert-file", "files/cert.pem", "--key-file", "files/key.pem")
    assert asyncio.run(mesh.place.tulle(*shown, "get", "all", "--server", mesh.api))[0] == 0
    code, output = asyncio.run(mesh.place.tulle(*shown, "token", "list", "--server", mesh.api))
    assert (code, "needs the role admin" in output) == (2, True)
    code, output = known(mesh, "token", "list")
    identifier = next(line.split()[0] for line in output.splitlines() if "viewer, by certificate" in line)
    assert known(mesh, "token", "delete", identifier)[0] == 0
    code, output = asyncio.run(mesh.place.tulle(*shown, "get", "all", "--server", mesh.api))
    assert (code, "was taken back" in output) == (2, True)
    code, output = known(mesh, "ca", "issue", "--role", "viewer", "--out", "files")
    assert (code, "has key.pem, cert.pem, ca.pem already" in output) == (2, True)
    assert known(mesh, "ca", "issue", "--role", "king", "--out", "others")[0] == 2
    assert not (mesh.place.folder / "others").exists()
