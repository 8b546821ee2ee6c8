"""Run alone in a network namespace, as root: a control plane and a caller on one machine, a workload on another, and a link between them.

`unshare -n python two_machines.py FOLDER` prints one line of JSON: what came of all steps.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.eventually import eventually, soon
from support.load import Load, load
from support.raw_http import Client
from support.router import neighbour, run
from support.running import TULLE

HERE, THERE = "10.9.0.1", "10.9.0.2"
API, XDS, UPSTREAM = 8500, 15010, 18080
ECHO = (sys.executable, "-m", "tulle.demo.apps.echo")
POLICIES = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 3}}}}
"""
"""New connections all the time, and none in plain text."""


@dataclass
class Machine:
    folder: Path
    before: list[str] = field(default_factory=list)
    """In front of its commands."""
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "TULLE_API": f"https://{HERE}:{API}",
            "TULLE_XDS": f"{HERE}:{XDS}",
            "TULLE_STATE_DIR": str(self.folder / "state"),
            "TULLE_RUN_DIR": str(self.folder / "run"),
        }
        return {name: value for name, value in os.environ.items() if not name.startswith("TULLE_")} | own | dict(self.variables)

    @asynccontextmanager
    async def running(self, name: str, sign: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """From when the sign stands in its output."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            start = log.stat().st_size
            process = await asyncio.create_subprocess_exec(
                *self.before, TULLE, *arguments, env=self.environment, cwd=self.folder, stdout=output, stderr=output
            )
        try:
            await eventually(lambda: sign in log.read_text()[start:] or process.returncode is not None)
            assert process.returncode is None, log.read_text()
            yield process
        except BaseException as error:
            error.add_note(f"{log}: {log.read_text(errors='replace')[-2000:]}")
            raise
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()

    async def tulle(self, *arguments: str) -> tuple[str, int]:
        process = await asyncio.create_subprocess_exec(
            *self.before,
            TULLE,
            *arguments,
            env=self.environment,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return (await process.communicate())[0].decode(), process.returncode or 0


async def joining(admin: Machine, machine: Machine, account: str) -> str:
    made = (await admin.tulle("token", "create", "--for", f"default/{account}", "-o", "json"))[0]
    path = machine.folder / f"join-{account}"
    path.write_text(json.loads(made)["token"])
    return str(path)


async def more(pulling: Load, requests: int = 60) -> None:
    before = pulling.requests
    await eventually(lambda: pulling.requests >= before + requests)


async def plain(machine: Machine, port: int) -> str:
    """What a port of the other machine says to an HTTP/2 client in plain text, in hex."""
    script = (
        "import socket,sys\n"
        f"s=socket.create_connection(({HERE!r},{port}),10)\n"
        "s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'+bytes.fromhex('000000040000000000'))\n"
        "try: print(s.recv(4096).hex())\n"
        "except ConnectionResetError: print()\n"
    )
    process = await asyncio.create_subprocess_exec(*machine.before, sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode().strip()


async def scenario(folder: Path, there: list[str]) -> dict[str, Any]:
    own, far = Machine(folder / "own"), Machine(folder / "far", there)
    control = {"TULLE_API": f"{HERE}:{API}", "TULLE_LOG_LEVEL": "info", "TULLE_DNS": "off"}
    plane = Machine(folder / "own", variables=control)
    state = folder / "own" / "state"
    admin = Machine(
        folder / "own",
        variables={
            "TULLE_SERVER": f"https://{HERE}:{API}",
            "TULLE_CA_FILE": str(state / "ca" / "current" / "root-cert.pem"),
            "TULLE_TOKEN_FILE": str(state / "admin-token"),
        },
    )
    found: dict[str, Any] = {}
    async with plane.running("control", "control plane serves", "control") as first:
        found["unjoined"] = (await far.tulle("run", "--service", "web", "--", "true"))[0]
        jwt = folder / "far" / "jwt"
        said = ("--service", "web", "--service-account", "web", "--port", "80", "--address", THERE, "--jwt-audience", "bank")
        said += ("--jwt-file", str(jwt))
        web = far.running("web", "is in the mesh", "run", *said, "--join-token-file", await joining(admin, far, "web"), "--", *ECHO)
        said = ("--service", "client", "--service-account", "client", "--port", "81", "--upstream", f"web:80={UPSTREAM}")
        given = await joining(admin, own, "client")
        client = own.running("client", "is in the mesh", "run", *said, "--join-token-file", given, "--", *ECHO)
        async with web, client:
            (folder / "own" / "policies.yaml").write_text(POLICIES)
            found["applied"] = (await admin.tulle("apply", "--wait", "-f", "policies.yaml"))[1]
            answer = await Client().send(UPSTREAM, "GET", "/headers", [("host", "any")])
            found["token"] = claims(jwt.read_text())
            found["caller"] = re.findall(r"URI=([^\"\\;]+)", answer.body.decode())
            found["plain"] = [await plain(far, XDS), await plain(far, API)]
            async with load(UPSTREAM, ("/",), connections=1) as pulling:
                await more(pulling)
                for step in ("begin", "switch", "finish"):
                    await soon(partial(done, admin, "ca", "rotate", step))
                    await more(pulling)
                first.kill()
                await first.wait()
                await more(pulling)
                async with plane.running("control", "control plane serves", "control"):
                    await soon(partial(connected, admin))
                    await more(pulling)
                    found["failed"] = dict(pulling.failures)
                    pulling.stop()
                    found["ended"] = await the_end_of(admin, far)
    found["requests"] = pulling.requests
    return found


def claims(token: str) -> dict[str, Any]:
    """What a token says, whoever signed it."""
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return said


async def done(machine: Machine, *arguments: str) -> bool:
    return (await machine.tulle(*arguments))[1] == 0


async def connected(admin: Machine) -> bool:
    """Both proxies are."""
    output, code = await admin.tulle("proxies", "-o", "json")
    return code == 0 and len(json.loads(output)) == 2


async def gone(admin: Machine) -> bool:
    return "web" not in (await admin.tulle("endpoints", "-o", "json"))[0]


async def the_end_of(admin: Machine, far: Machine) -> str:
    """Of the far machine's membership: what its user is told."""
    tokens = json.loads((await admin.tulle("token", "list", "-o", "json"))[0])["tokens"]
    identifier = next(token["id"] for token in tokens if token["for"] == "default/web")
    await admin.tulle("token", "delete", identifier)
    await soon(partial(gone, admin))
    log = far.folder / "web.log"
    await eventually(lambda: "must join anew" in log.read_text())
    return re.findall(r"(its membership has ended|no member of the mesh any more): its machine must join anew", log.read_text())[0]


def main() -> None:
    folder = Path(sys.argv[1])
    for name in ("own", "far"):
        (folder / name / "run").mkdir(parents=True, mode=0o700)
    assert shutil.which("nsenter")
    run("ip link set lo up")
    with neighbour("v0", HERE, THERE) as there:
        print(json.dumps(asyncio.run(scenario(folder, there))))


if __name__ == "__main__":
    main()
