"""Who is believed: mutual TLS by mesh, namespace, workload and port, and end users by their tokens at the gateway."""

from __future__ import annotations

import pytest

from support.carried import until
from support.scene import REFUSED, said_over_tcp
from support.served import serving
from support.town import Town
from support.words import bearer, peers, policy, tokens

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("scenarios")]


def legacy(town: Town) -> dict[str, int]:
    """How calls without a sidecar end."""
    return {to: town.scene.plain(f"echo.{to}", 8000).status for to in ("foo", "bar")}


def test_workload_before_namespace_before_mesh(town: Town) -> None:
    with town.scene.holding(peers("STRICT", "istio-system")):
        assert legacy(town) == {"foo": REFUSED, "bar": REFUSED}
        with town.scene.holding(peers("PERMISSIVE", "foo")):
            assert legacy(town) == {"foo": 200, "bar": REFUSED}
            with town.scene.holding(peers("STRICT", "foo", app="echo")):
                assert legacy(town) == {"foo": REFUSED, "bar": REFUSED}
                assert town.called("caller.bar", "http://echo.foo:8000/") == 200


def test_one_port_of_a_workload(town: Town) -> None:
    ports = ", portLevelMtls: {9000: {mode: DISABLE}}"
    with town.scene.holding(peers("STRICT", "foo", app="lines", more=ports)):
        said = {number: said_over_tcp(town.scene.door("lines.foo", number), b"plain\n") for number in (9000, 9001)}
        assert said == {9000: b"hello plain\n", 9001: b""}
        assert said_over_tcp(town.lines[9001]) == b"hello hello\n"
        assert said_over_tcp(town.lines[9000]) == b"hello hello\n", "callers know that this port takes plain text"


def test_end_users_at_the_gateway(town: Town) -> None:
    """A bad token is refused, none is not; then one is required; then on one path only."""
    enter, good = town.scene.enter, bearer(town.issuer.token(sub="ann"))
    bad = bearer("deadbeef")
    keys = {"/keys": (200, town.issuer.key_set.encode())}
    with serving(keys) as url, town.scene.holding(tokens(town.issuer, namespace="istio-system", keys=f"{url}/keys")):
        until(lambda: enter("/headers", **good).status == 200)
        assert [enter("/headers", **bad).status, enter("/headers").status] == [401, 200]
        assert enter("/headers", **bearer(town.issuer.token(lives=-600))).status == 401
        edge = "selector: {matchLabels: {istio: ingressgateway}}, action: DENY, "
        nobody = "from: [{source: {notRequestPrincipals: ['*']}}]"
        with town.scene.holding(policy("frontend", f"{edge}rules: [{{{nobody}}}]", "istio-system")):
            assert [enter("/headers", **h).status for h in (good, bad, {})] == [200, 401, 403]
        one = f"{edge}rules: [{{{nobody}, to: [{{operation: {{paths: [/headers]}}}}]}}]"
        with town.scene.holding(policy("frontend", one, "istio-system")):
            assert [enter(path).status for path in ("/headers", "/ip")] == [403, 200]
            assert enter("/headers", **good).status == 200
    assert enter("/headers", **bad).status == 200, "nobody looks at tokens any more"
