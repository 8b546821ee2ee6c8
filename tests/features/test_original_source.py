"""The caller's own address, as endpoints see it: in namespaces that the test makes, with the routes that the docs tell of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from support import router
from support.compiled import built, gateway
from tulle.compile import view
from tulle.model.proxy import Node
from tulle.resources.read import read

CALLER, TOLD, FAR_SIDE = "10.1.0.2", "10.1.0.77", "10.2.0.1"


def may_make_namespaces() -> bool:
    """By trying: containers often forbid it, or some of it."""
    tried = ["unshare", "-n", "sh", "-c", "ip link add va type veth peer name vb && ip rule add iif va lookup 100"]
    return os.geteuid() == 0 and bool(shutil.which("ip")) and subprocess.run(tried, capture_output=True).returncode == 0


@pytest.mark.root
@pytest.mark.envoy
@pytest.mark.skipif(not may_make_namespaces(), reason="needs root, network namespaces and iproute2")
@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("true", {"http": CALLER, "tcp": CALLER, "udp": CALLER, "local": CALLER, "hops": TOLD}),
        ("7", {"http": CALLER, "tcp": CALLER, "udp": CALLER, "local": CALLER, "hops": TOLD}),
        ("false", {"http": FAR_SIDE, "tcp": FAR_SIDE, "udp": FAR_SIDE, "local": "127.0.0.1", "hops": FAR_SIDE}),
    ],
)
def test_what_servers_see_of_callers(said: str, seen: dict[str, str]) -> None:
    home = str(Path("/proc/self/ns/net").readlink())
    done = subprocess.run(["unshare", "-n", sys.executable, router.__file__, said, home], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == seen


def test_only_a_proxy_that_may_does_it() -> None:
    mesh = built(router.EDGE.replace("SAID", "7")).mesh
    asked = {node.transparent: {x.original_source for x in view(mesh, node).listeners} for node in (gateway(), may())}
    assert asked == {False: {None}, True: {7}}


def may() -> Node:
    return replace(gateway(), transparent=True)


@pytest.mark.parametrize("said", ["yes", "0", "4294967296"])
def test_what_is_wrong_in_the_annotation(said: str) -> None:
    found = [str(v) for v in read(router.EDGE.replace("SAID", said), "f.yaml").violations]
    assert len(found) == 2
    assert 'must be "true", "false" or the mark of the packets to endpoints (1 to 4294967295), not ' in found[0]
