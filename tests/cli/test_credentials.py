"""What commands and agents show: files that cannot be used are told, and an agent outlives them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from support.certificates import Ca
from support.running import Place
from tulle.agent.registry_client import Registrar
from tulle.cli.credentials import FromEnvironment, OfAgent
from tulle.cli.failure import Failure
from tulle.model.service import RegisteredPort, Registration


def test_nobody_is_asked_for_the_password_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = Ca("an authority").issue("somebody").write(tmp_path, "own")
    plain = load_pem_private_key(Path(key).read_bytes(), None)
    Path(key).write_bytes(plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hush")))
    monkeypatch.setenv("TULLE_CERT_FILE", certificate)
    monkeypatch.setenv("TULLE_KEY_FILE", key)
    with pytest.raises(Failure, match="--cert-file, --key-file: the key has a password: write it without one"):
        FromEnvironment().context()


def test_an_agent_goes_on_while_the_file_of_its_token_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TULLE_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.delenv("TULLE_TOKEN", raising=False)
    with pytest.raises(Failure, match="No such file"):
        OfAgent()
    (tmp_path / "token").write_text("tulle.a.b\n")
    credentials = OfAgent()
    assert credentials.headers() == {"authorization": "Bearer tulle.a.b"}
    (tmp_path / "token").unlink()

    async def run() -> str:
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        registrar = Registrar(api="127.0.0.1:1", id="a", ttl=30.0, renew=10.0, report=told.set_result, credentials=credentials)
        ports = (RegisteredPort(number=80, target=8080, name="http"),)
        registrar.announce(Registration(id="a", service="a", namespace="default", address="127.0.0.1", ports=ports))
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(registrar.run())
            said = await told
            running.cancel()
        return said

    assert f"--token-file: {tmp_path / 'token'}: cannot be read: No such file or directory; trying again" in asyncio.run(run())


def test_roots_that_are_none_are_told_before_joining(tmp_path: Path) -> None:
    place = Place(folder=tmp_path)
    place.write("roots", "hello")
    place.write("join", "tulle-join.a.b." + "0" * 64)
    command = ("--ca-file", "roots", "run", "--service", "web", "--join-token-file", "join", "--", "true")
    assert asyncio.run(place.tulle(*command)) == (2, "tulle: --ca-file: roots: holds no certificate that can be read: it must be PEM\n")
