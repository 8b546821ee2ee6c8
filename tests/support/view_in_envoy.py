"""A real Envoy that does what a view says, without a control plane: for tests that compare what is computed with what happens."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.raw_http import read_response
from tulle.model.proxy import ProxyView
from tulle.protos import any_, envoy_path, pb
from tulle.translate.clusters import cluster
from tulle.translate.listeners import listener

START = 30.0
"""Seconds that Envoy may take to start."""


def bootstrap(view: ProxyView, admin: str) -> bytes:
    """A binary bootstrap; route tables must stand in their listeners and endpoints in their clusters."""
    made = pb.Bootstrap(
        admin={"address": {"pipe": {"path": admin}}},
        static_resources={"listeners": [listener(x) for x in view.listeners], "clusters": [cluster(x) for x in view.clusters]},
        bootstrap_extensions=[{"name": "envoy.bootstrap.internal_listener", "typed_config": any_(pb.InternalListener())}],
    )
    return made.SerializeToString(deterministic=True)


@asynccontextmanager
async def envoy(view: ProxyView) -> AsyncIterator[dict[str, int]]:
    """Runs Envoy; yields the port of each listener by its name. Listeners with port 0 get a free one."""
    with tempfile.TemporaryDirectory(prefix="envoy-") as folder:
        config, log, admin = (Path(folder) / name for name in ("bootstrap.pb", "log", "admin"))
        config.write_bytes(bootstrap(view, str(admin)))
        arguments = [str(envoy_path()), "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "-l", "error"]
        with log.open("wb") as output, subprocess.Popen(arguments, stdout=output, stderr=output) as process:
            try:
                yield await _ports(process, admin, log, {x.name for x in view.listeners if x.address})
            finally:
                process.terminate()


async def _ports(process: subprocess.Popen, admin: Path, log: Path, wanted: set[str]) -> dict[str, int]:
    async with asyncio.timeout(START):
        while True:
            if process.poll() is not None:
                raise AssertionError(f"Envoy ended: {log.read_text()[-3000:]}")
            found = await _listening(admin)
            if wanted <= found.keys():
                return found
            await asyncio.sleep(0.02)


async def _listening(admin: Path) -> dict[str, int]:
    try:
        reader, writer = await asyncio.open_unix_connection(str(admin))
    except OSError:
        return {}
    writer.write(b"GET /listeners?format=json HTTP/1.1\r\nhost: admin\r\n\r\n")
    listed = json.loads((await read_response(reader, "GET")).body)
    writer.close()
    await writer.wait_closed()
    addresses = {x["name"]: x["local_address"].get("socket_address") for x in listed.get("listener_statuses", ())}
    return {name: address["port_value"] for name, address in addresses.items() if address and address["port_value"]}
