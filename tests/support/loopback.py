"""How Envoy names callers on loopback in X-Forwarded-For: by the machine's own address, where it has another one."""

from __future__ import annotations

import socket


def called_from_here() -> set[str]:
    """All that a caller on 127.0.0.1 may be called."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: only a route is looked up
        except OSError:
            return {"127.0.0.1"}
        return {"127.0.0.1", probe.getsockname()[0]}
