"""A real Envoy that is led over xDS, bootstrapped as the agent does it."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.lone_envoy import LoneEnvoy
from tulle.agent.bootstrap import BootstrapSettings, bootstrap
from tulle.discovery.node import to_metadata
from tulle.model.proxy import Node
from tulle.protos import envoy_path


@asynccontextmanager
async def led_envoy(node: Node, xds: str, *, delta: bool, roots: str = "") -> AsyncIterator[LoneEnvoy]:
    """Starts an Envoy; yields at once, before it has connected to `xds` (`host:port` or a socket's path)."""
    with tempfile.TemporaryDirectory(prefix="envoy-", dir="/tmp") as folder:
        admin, config, log = (Path(folder) / name for name in ("admin", "config.json", "log"))
        settings = BootstrapSettings(xds=xds, admin=str(admin), delta=delta, roots=roots)
        config.write_text(json.dumps(bootstrap(node, to_metadata(node), settings)))
        arguments = [str(envoy_path()), "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
        arguments += ["--drain-time-s", "45", "--drain-strategy", "immediate"]
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(*arguments, stdout=output, stderr=output)
            try:
                yield LoneEnvoy(admin)
            except BaseException as error:
                error.add_note(log.read_text()[-3000:])
                raise
            finally:
                process.terminate()
                await process.wait()
