"""What people write on the command line of `tulle run` and `tulle gateway`, and how those end."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tulle.agent import options
from tulle.agent.logs import Prefixed
from tulle.agent.spec import WorkloadPort, WorkloadSpec
from tulle.cli.failure import Failure
from tulle.cli.run import run
from tulle.model.identity import Labels
from tulle.model.proxy import Upstream
from tulle.model.service import Protocol


def tulle(*words: str) -> subprocess.CompletedProcess[str]:
    # Nothing listens on port 1: a control plane that never comes.
    environment = os.environ | {"TULLE_API": "127.0.0.1:1", "TULLE_XDS": "127.0.0.1:1", "PYTHONWARNINGS": "error"}
    return subprocess.run([sys.executable, "-m", "tulle.cli.main", *words], capture_output=True, text=True, env=environment, timeout=60)


def test_ports() -> None:
    assert options.workload_port("9080", Protocol.HTTP) == WorkloadPort(number=9080, name="http-9080")
    assert options.workload_port("80:8000", Protocol.GRPC) == WorkloadPort(number=80, target=8000, name="grpc-80", protocol=Protocol.GRPC)


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("redis:6379=16379", Upstream(host="redis", port=6379, bind_port=16379)),
        ("redis.shop:6379=127.0.0.2:16379", Upstream(host="redis.shop", port=6379, bind="127.0.0.2", bind_port=16379)),
        ("redis:6379=[::1]:16379", Upstream(host="redis", port=6379, bind="::1", bind_port=16379)),
    ],
)
def test_upstreams(text: str, upstream: Upstream) -> None:
    assert options.upstream(text) == upstream


def test_labels() -> None:
    assert options.labels(["a=b", "tier=", "x=y=z"]) == Labels({"a": "b", "tier": "", "x": "y=z"})


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "80:x", "-1", "8 0"])
def test_what_is_no_port_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is not a port: write a number from 1 to 65535"):
        options.workload_port(text, Protocol.HTTP)


@pytest.mark.parametrize("text", ["redis", "redis:6379", "redis=16379", ":1=2", "redis:6379="])
def test_what_is_no_upstream_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is not an upstream: write SERVICE:PORT=LOCAL_PORT"):
        options.upstream(text)


def test_a_spec_that_cannot_be_registered_is_refused_with_all_that_is_wrong() -> None:
    with pytest.raises(ValueError, match="service: must be") as raised:
        WorkloadSpec(id="x", service="Web", address="nowhere", ports=(WorkloadPort(number=0),)).check()
    assert "address: 'nowhere' is not an IP address" in str(raised.value)
    WorkloadSpec(id="x", service="web", ports=(WorkloadPort(number=80),)).check()


def test_lines_are_aligned_and_coloured_by_name() -> None:
    plain, coloured = io.StringIO(), io.StringIO()
    sink = Prefixed(plain, width=5)
    sink("web", "one")
    sink("reviews-v1", "two")
    sink("web", "three")
    assert plain.getvalue() == "web   | one\nreviews-v1 | two\nweb        | three\n"
    Prefixed(coloured, colour=True)("web", "one")
    assert coloured.getvalue().startswith("\x1b[")
    assert coloured.getvalue().endswith("web |\x1b[0m one\n")


@pytest.mark.parametrize(
    ("options_", "said"),
    [
        ({"port": ["x"]}, "--port: 'x' is not a port"),
        ({"label": ["x"]}, "--label: 'x' is not a label: write key=value"),
        ({"upstream": ["x"]}, "--upstream: 'x' is not an upstream"),
        ({"protocol": "smtp"}, "--protocol: 'smtp' is not a protocol: write one of http, http2, grpc, tcp"),
        ({"restart": "maybe"}, "--restart: 'maybe' is not a valid Restart"),
        ({"address": "here"}, "tulle run: address: 'here' is not an IP address"),
    ],
)
def test_unusable_options_end_with_2_and_say_why(options_: dict[str, Any], said: str) -> None:
    with pytest.raises(Failure) as raised:
        run(["true"], "web", **options_)
    assert raised.value.exit_code == 2
    assert said in str(raised.value)


@pytest.mark.envoy
def test_the_exit_code_is_that_of_the_command() -> None:
    ended = tulle("run", "--service", "web", "--hold", "0", "--port", "80", "--", "sh", "-c", "echo on {port} $PORT; exit 7")
    assert ended.returncode == 7
    first, *_ = (line for line in ended.stdout.splitlines() if line.startswith("web | on "))
    words = first.split()
    assert words[-1] == words[-2]


@pytest.mark.envoy
def test_a_command_ended_by_a_signal_ends_as_in_a_shell() -> None:
    assert tulle("run", "--service", "web", "--hold", "0", "--", "sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL
    assert tulle("run", "--service", "web", "--hold", "0", "--", "/nowhere").returncode == 127


@pytest.mark.envoy
@pytest.mark.parametrize("words", [("gateway",), ("run", "--service", "web", "--", "sleep", "1000")], ids=["gateway", "run"])
def test_a_signal_ends_it_in_peace(words: tuple[str, ...]) -> None:
    environment = os.environ | {"TULLE_API": "127.0.0.1:1", "TULLE_XDS": "127.0.0.1:1"}
    with subprocess.Popen(
        [sys.executable, "-m", "tulle.cli.main", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as running:
        assert running.stdout
        # Envoy's first word is that there is no control plane.
        assert any("[envoy]" in line for line in running.stdout)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
