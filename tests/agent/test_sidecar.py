"""A whole sidecar: real Envoy, real application, the real discovery server; from the first moment to the last."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from support.running import free_port
from support.small_control import SmallControl
from tulle.agent.gateway import GatewayProxy, GatewaySpec
from tulle.agent.ports import Ports
from tulle.agent.sidecar import Sidecar
from tulle.agent.spec import AgentSettings, WorkloadPort, WorkloadSpec
from tulle.agent.supervise import Restart
from tulle.http_client import Response, request

pytestmark = pytest.mark.envoy

APPLICATION = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/exit"):
            os._exit(int(self.path.rpartition("/")[2]))
        time.sleep(float(os.environ.get("SLOW", "0")))
        body = json.dumps({"env": dict(os.environ), "args": sys.argv[1:], "pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

print("serving", flush=True)
ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 - programs set no events
            await asyncio.sleep(0.01)


@dataclass
class Stage:
    """Where a test plays."""

    control: SmallControl
    settings: AgentSettings
    lines: list[tuple[str, str]] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def spec(self, name: str = "web-0", **more: Any) -> WorkloadSpec:
        command = (sys.executable, "-c", APPLICATION, "{port}")
        return WorkloadSpec(**{"id": name, "service": "web", "ports": (WorkloadPort(number=80),), "command": command, **more})

    @contextlib.asynccontextmanager
    async def sidecar(self, spec: WorkloadSpec | None = None, settings: AgentSettings | None = None) -> AsyncIterator[Sidecar]:
        """Runs one until the block ends; it is ready when the block begins."""
        stop = asyncio.Event()
        sidecar = Sidecar(spec or self.spec(), settings or self.settings)
        async with asyncio.timeout(300), asyncio.TaskGroup() as tasks:
            tasks.create_task(sidecar.run(stop))
            await sidecar.ready.wait()
            yield sidecar
            stop.set()

    @contextlib.asynccontextmanager
    async def gateway(self) -> AsyncIterator[str]:
        """Runs one until the block ends. Its address."""
        stop = asyncio.Event()
        with Ports() as ports:
            self.control.gateway_port = ports.hold("127.0.0.1")
            proxy = GatewayProxy(GatewaySpec(), self.settings)
            async with asyncio.timeout(300), asyncio.TaskGroup() as tasks:
                tasks.create_task(proxy.run(stop))
                await proxy.ready.wait()
                yield f"127.0.0.1:{self.control.gateway_port}"
                stop.set()

    def errors(self) -> list[str]:
        return [line for _, line in self.lines if line.startswith("[envoy]")]


@contextlib.asynccontextmanager
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    control = SmallControl()
    lines: list[tuple[str, str]] = []
    async with control.running():
        settings = AgentSettings(
            xds=control.xds,
            api=control.api,
            run_dir=str(tmp_path),
            drain=30.0,
            leave=60.0,
            sink=lambda name, line: lines.append((name, line)),
        )
        yield Stage(control=control, settings=settings, lines=lines)
    assert not control.rejections


async def through(sidecar: Sidecar, path: str = "/") -> Response:
    assert sidecar.plan
    return await request(f"127.0.0.1:{sidecar.plan.node.inbound[0].listen}", "GET", path, timeout=60)


def test_from_start_to_end(tmp_path: Path) -> None:
    async def play() -> None:
        async with stage(tmp_path) as here:
            spec = here.spec(version="v1", environment={"MINE": "on {port}"})
            async with here.sidecar(spec) as sidecar:
                answer = (await through(sidecar)).json()
                assert sidecar.plan
                assert sidecar.envoy
                port, proxy = str(sidecar.plan.ports[0].target), "http://{}:{}".format(*sidecar.plan.node.http_proxy or ())
                assert answer["args"] == [port]
                told = {
                    "PORT": port,
                    "MINE": f"on {port}",
                    "http_proxy": proxy,
                    "HTTP_PROXY": proxy,
                    "no_proxy": "localhost,127.0.0.1,::1",
                    "TULLE_INSTANCE": "web-0",
                }
                assert {name: answer["env"].get(name) for name in told} == told
                registered = here.control.registrations["web-0"]
                assert registered == sidecar.plan.registration
                assert registered.labels == {"app": "web", "version": "v1"}
                assert registered.proxy == "sidecar~web-0"
                assert (await sidecar.envoy.admin.memory())["allocated"] > 0
                assert ("web-v1", "serving") in here.lines
            assert here.control.seen == [("PUT", "web-0", "passing"), ("DELETE", "web-0", "")]
            assert not here.errors()

    asyncio.run(play())
    assert not list(tmp_path.glob("p-*"))


def test_an_application_that_dies_is_critical_at_once_and_passes_again(tmp_path: Path) -> None:
    async def play() -> None:
        async with stage(tmp_path) as here, here.sidecar() as sidecar:
            first = (await through(sidecar)).json()["pid"]
            assert (await through(sidecar, "/exit/3")).status == 503
            await until(lambda: [health for _, _, health in here.control.seen] == ["passing", "critical", "passing"])
            assert (await through(sidecar)).json()["pid"] != first
            assert any(line.startswith("[tulle] exited with code 3; starting it again in") for _, line in here.lines)

    asyncio.run(play())


def test_a_proxy_that_dies_is_started_again_while_the_application_runs_on(tmp_path: Path) -> None:
    async def play() -> None:
        async with stage(tmp_path) as here, here.sidecar() as sidecar:
            first = (await through(sidecar)).json()["pid"]
            assert sidecar.envoy
            assert sidecar.envoy.unit.child
            os.kill(sidecar.envoy.unit.child.pid, signal.SIGKILL)
            await until(lambda: [health for _, _, health in here.control.seen] == ["passing", "critical", "passing"])
            assert (await through(sidecar)).json()["pid"] == first

    asyncio.run(play())


def test_the_exit_code_is_the_applications_own_when_it_is_not_started_again(tmp_path: Path) -> None:
    async def play() -> int:
        async with stage(tmp_path) as here:
            command = (sys.executable, "-c", "import sys; sys.exit(42)")
            sidecar = Sidecar(here.spec(command=command, restart=Restart.NEVER), here.settings)
            return await sidecar.run(asyncio.Event())

    assert asyncio.run(play()) == 42


def test_traffic_goes_on_while_the_control_plane_is_away_and_the_registration_comes_back(tmp_path: Path) -> None:
    async def play() -> None:
        lines: list[tuple[str, str]] = []
        async with contextlib.AsyncExitStack() as running:
            # Ports that nobody is given while the second is not there yet.
            first = await running.enter_async_context(SmallControl().running(free_port(), free_port()))
            settings = AgentSettings(
                xds=first.xds, api=first.api, run_dir=str(tmp_path), renew=0.2, sink=lambda name, line: lines.append((name, line))
            )
            async with Stage(control=first, settings=settings).sidecar() as sidecar:
                await running.aclose()
                await until(lambda: any("trying again until it is there" in line for _, line in lines))
                assert (await through(sidecar)).status == 200
                second = SmallControl()
                api, xds = (int(address.rpartition(":")[2]) for address in (first.api, first.xds))
                async with second.running(api, xds):
                    await until(lambda: second.passing() and second.nodes)
                    assert (await through(sidecar)).status == 200

    asyncio.run(play())


def test_an_instance_that_is_not_ready_appears_as_critical_and_says_what_is_missing(tmp_path: Path) -> None:
    async def play() -> None:
        async with stage(tmp_path) as here:
            stop = asyncio.Event()
            sidecar = Sidecar(here.spec(command=("sleep", "1000")), here.settings)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(sidecar.run(stop))
                await until(lambda: here.control.seen)
                assert here.control.seen == [("PUT", "web-0", "critical")]
                assert any("does not take connections on 127.0.0.1:" in line for _, line in here.lines)
                stop.set()

    asyncio.run(play())


def test_a_stubborn_application_does_not_outlast_someone_in_a_hurry(tmp_path: Path) -> None:
    async def play() -> int:
        async with stage(tmp_path) as here:
            stop, hurry = asyncio.Event(), asyncio.Event()
            ignoring = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + APPLICATION
            spec = here.spec(command=(sys.executable, "-c", ignoring, "{port}"))
            sidecar = Sidecar(spec, replace(here.settings, grace=1000.0, drain=1000.0))
            async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
                running = tasks.create_task(sidecar.run(stop, hurry))
                await sidecar.ready.wait()
                stop.set()
                hurry.set()
            return running.result()

    assert asyncio.run(play()) == 0


async def load(address: str, ended: asyncio.Event, answers: list[int]) -> None:
    """One caller with one connection that lasts, asking again and again."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    while not ended.is_set():
        writer.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        answers.append(int(head.split()[1]))
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length:"))
        await reader.readexactly(length)
    writer.close()


def test_no_request_is_lost_when_one_of_two_instances_leaves(tmp_path: Path) -> None:
    async def play() -> None:
        answers: list[int] = []
        ended = asyncio.Event()
        async with contextlib.AsyncExitStack() as running:
            here = await running.enter_async_context(stage(tmp_path))
            address = await running.enter_async_context(here.gateway())
            await running.enter_async_context(here.sidecar(here.spec("web-1", environment={"SLOW": "0.01"})))
            async with asyncio.TaskGroup() as tasks:
                async with here.sidecar(here.spec("web-2", environment={"SLOW": "0.01"})):
                    await until(lambda: len(here.control.passing()) == 2)
                    for _ in range(16):
                        tasks.create_task(load(address, ended, answers))
                    await until(lambda: len(answers) > 500)
                    before = len(answers)
                await until(lambda: len(answers) > before + 300)
                ended.set()
        assert set(answers) == {200}

    asyncio.run(play())


ORPHANS = """
import asyncio, sys
from tulle.agent.sidecar import Sidecar
from tulle.agent.spec import AgentSettings, WorkloadPort, WorkloadSpec

async def main():
    api, xds, run_dir = sys.argv[1:]
    spec = WorkloadSpec(id="web-0", service="web", ports=(WorkloadPort(number=80),), command=("sleep", "1000"))
    sidecar = Sidecar(spec, AgentSettings(api=api, xds=xds, run_dir=run_dir))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sidecar.run(asyncio.Event()))
        while not (sidecar.envoy and sidecar.envoy.unit.child):
            await asyncio.sleep(0.01)
        print(sidecar.envoy.unit.child.pid, flush=True)

asyncio.run(main())
"""


def ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second when it ends between the opening and the reading
        return True


def test_no_proxy_outlives_an_agent_that_is_killed(tmp_path: Path) -> None:
    async def play() -> None:
        async with stage(tmp_path) as here:
            agent = await asyncio.create_subprocess_exec(
                sys.executable, "-c", ORPHANS, here.settings.api, here.settings.xds, str(tmp_path), stdout=asyncio.subprocess.PIPE
            )
            assert agent.stdout
            proxy = int(await agent.stdout.readline())
            await until(lambda: here.control.nodes)
            agent.kill()
            await agent.wait()
            await until(lambda: ended(proxy))

    asyncio.run(play())
