"""Options of the whole test suite."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# What an example may cost in time says more about the machine's other work than about the code.
settings.register_profile("search", deadline=None, derandomize=False, suppress_health_check=[HealthCheck.too_slow])
# The same examples in every run: what passed once passes again. New ones are looked for by `pytest --hypothesis-profile search`.
settings.register_profile("steady", settings.get_profile("search"), derandomize=True)
settings.load_profile("steady")

# Where nobody can press Ctrl-C, shells have programs ignore it, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite what tests/golden expects")


PROGRAMS = {
    "tests/docs/test_docs.py": ("curl", "openssl"),
    "tests/control/test_protocols.py": ("curl",),
    "tests/features/test_tls_": ("curl", "openssl"),
    "tests/features/test_udp.py": ("dig",),
    "tests/features/test_upstream_features.py::test_the_endpoint_is_spoken": ("curl",),
    "tests/features/test_proxy_protocol.py": ("haproxy",),
    "tests/features/test_http3.py": ("curl",),
    "tests/features/test_tcp_services.py::test_postgresql": ("psql", "initdb"),
    "tests/features/test_tcp_services.py::test_redis": ("redis-server", "redis-cli"),
    "tests/features/test_tcp_services.py::test_mqtt": ("mosquitto", "mosquitto_sub"),
    "tests/features/test_streaming.py::test_http2": ("curl",),
    "tests/features/test_streaming.py::test_many": ("h2load",),
    "tests/gatewayapi/test_gatewayapi_connections.py": ("curl", "openssl", "dig"),
}
"""Programs of the system that tests use as clients. CI has them all; elsewhere the tests that lack one say so."""

_PATH = ":".join((os.environ.get("PATH", os.defpath), "/usr/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))))
"""Where Debian keeps servers, too."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        wanted = next((names for start, names in PROGRAMS.items() if item.nodeid.startswith(start)), ())
        if lacking := [name for name in wanted if shutil.which(name, path=_PATH) is None]:
            item.add_marker(pytest.mark.skip(reason=f"{', '.join(lacking)} not installed"))
