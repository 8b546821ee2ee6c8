"""A mesh over two machines, which are network namespaces: nothing goes between them in plain text, and nobody notices what is renewed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from support import two_machines


def may_make_namespaces() -> bool:
    tried = ["unshare", "-n", "sh", "-c", "ip link add va type veth peer name vb"]
    return os.geteuid() == 0 and bool(shutil.which("ip")) and subprocess.run(tried, capture_output=True).returncode == 0


@pytest.mark.root
@pytest.mark.envoy
@pytest.mark.skipif(not may_make_namespaces(), reason="needs root, network namespaces and iproute2")
def test_two_machines_speak_to_each_other() -> None:
    """The root is replaced, and the control plane killed, under load; then a machine is sent away."""
    # Unix sockets are to be in it, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="tulle-") as folder:
        command = ["unshare", "-n", sys.executable, two_machines.__file__, folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads(done.stdout)
    assert "only as members of the mesh" in found["unjoined"]
    assert found["applied"] == 0
    assert (found["token"]["sub"], found["token"]["aud"]) == ("spiffe://cluster.local/ns/default/sa/web", ["bank"])
    assert found["caller"] == ["spiffe://cluster.local/ns/default/sa/client"]
    # Neither port says anything to who speaks no TLS, but at most an alert (RFC 8446, section 6).
    assert all(len(said) <= 14 and said[:2] in ("", "15") for said in found["plain"])
    assert found["failed"] == {}
    assert found["requests"] > 300
    assert found["ended"] in ("its membership has ended", "no member of the mesh any more")
