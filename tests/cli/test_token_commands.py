"""`tulle token`, and every other command against a control plane that asks for tokens."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from support.running import Place, running

REQUIRED = {"TULLE_API_TOKENS": "required"}


def test_the_first_token_makes_others_and_takes_them_back(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(folder=tmp_path)
        async with running(place, "control", environment=place.environment | REQUIRED) as control:
            await until_up(place)
            first = str(tmp_path / "state" / "admin-token")
            code, said = await place.tulle("get", "all")
            assert (code, "needs a token" in said or "show a token" in said) == (2, True), said
            code, said = await place.tulle(
                "--token-file", first, "token", "create", "--role", "viewer", "--name", "dashboard", "-o", "json"
            )
            assert code == 0, said
            made = json.loads(said)
            (tmp_path / "viewer").write_text(made["token"] + "\n")
            assert (await place.tulle("--token-file", "viewer", "get", "all"))[0] == 0
            code, said = await place.tulle("--token-file", first, "token", "create", "--for", "shop/web", "--out", "join/token")
            kept = (tmp_path / "join" / "token").read_text()
            assert (code, kept.startswith("tulle-join."), kept.strip() in said) == (0, True, False), said
            assert (tmp_path / "join" / "token").stat().st_mode & 0o777 == 0o600
            assert (await place.tulle("--token-file", first, "token", "delete", kept.split(".")[1]))[0] == 0
            code, said = await place.tulle("--token-file", "viewer", "token", "list")
            assert (code, "needs the role admin" in said) == (2, True)
            code, said = await place.tulle("--token-file", first, "token", "list")
            assert [line.split()[:2] for line in said.splitlines()[1:]] == [[made["id"], "viewer"], ["bootstrap", "admin"]] or (
                [line.split()[:2] for line in said.splitlines()[1:]] == [["bootstrap", "admin"], [made["id"], "viewer"]]
            )
            assert made["token"] not in said
            assert (await place.tulle("--token-file", first, "token", "delete", made["id"]))[0] == 0
            assert (await place.tulle("--token-file", "viewer", "get", "all"))[0] == 2
            for secret in (made["token"], (tmp_path / "state" / "admin-token").read_text().strip()):
                assert secret.split(".")[2] not in control.log.read_text()

    asyncio.run(run())


async def until_up(place: Place) -> None:
    """A control plane that asks for tokens tells everybody that it is ready."""
    async with asyncio.timeout(60):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", place.api)
                writer.write(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                if b" 200 " in await reader.readline():
                    writer.close()
                    return
                writer.close()
            except OSError:
                pass
            await asyncio.sleep(0.05)


async def registered(place: Place, service: str) -> None:
    async with asyncio.timeout(60):
        while True:
            if service in (await place.tulle("--token-file", "state/admin-token", "services"))[1]:
                return
            await asyncio.sleep(0.1)


@pytest.mark.envoy
def test_an_agent_registers_with_its_token_and_keeps_it_from_the_application(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(folder=tmp_path)
        async with running(place, "control", environment=place.environment | REQUIRED):
            await until_up(place)
            token = (tmp_path / "state" / "admin-token").read_text().strip()
            show = f"env > environment; exec {sys.executable} -m tulle.demo.apps.echo"
            command = ("run", "--service", "web", "--port", "80", "--", "sh", "-c", show)
            secrets = {"TULLE_TOKEN": token, "TULLE_RATE_LIMIT_STORE": "redis://tulle:a-password@127.0.0.1"}
            async with running(place, *command, environment=place.environment | secrets):
                await registered(place, "web")
                seen = (tmp_path / "environment").read_text()
                assert [word for word in (token, "a-password") if word in seen] == []

    asyncio.run(run())


@pytest.mark.envoy
def test_a_machine_joins_with_a_token_that_works_once(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(folder=tmp_path)
        async with running(place, "control", environment=place.environment | REQUIRED):
            await until_up(place)
            code, said = await place.tulle("--token-file", "state/admin-token", "token", "create", "--for", "default/web", "-o", "json")
            assert code == 0, said
            (tmp_path / "join").write_text(json.loads(said)["token"])
            joining = ("run", "--service", "web", "--port", "80", "--join-token-file", "join")
            program = ("--", sys.executable, "-m", "tulle.demo.apps.echo")
            code, said = await place.tulle(*joining, *program)
            assert (code, "is for another than 'default/default'" in said) == (1, True), said
            machine = place.environment | {"TULLE_STATE_DIR": str(tmp_path / "machine")}
            for _ in range(2):  # a restart goes on with what the first start left
                async with running(place, *joining, "--service-account", "web", *program, environment=machine):
                    await registered(place, "web")
            thief = await place.tulle(*joining, "--service-account", "web", *program)
            assert (thief[0], "used already" in thief[1]) == (1, True), thief[1]

    asyncio.run(run())


MESH = f"""\
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: shop}}
spec:
  workloads:
  - service: web
    ports: [{{number: 80}}]
    command: {sys.executable} -m tulle.demo.apps.echo
"""


@pytest.mark.envoy
def test_a_whole_mesh_needs_no_token_of_its_own(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(folder=tmp_path)
        place.write("mesh.yaml", MESH)
        async with running(place, "up", "mesh.yaml", environment=place.environment | REQUIRED):
            await until_up(place)
            await registered(place, "web")
            code, said = await place.tulle("--token-file", "state/admin-token", "endpoints", "web")
            assert (code, "127.0.0.1" in said) == (0, True), said
            assert (await place.tulle("endpoints", "web"))[0] == 2

    asyncio.run(run())
