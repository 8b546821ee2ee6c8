"""A service of the user's own decides, over HTTP and over gRPC."""

from __future__ import annotations

import pytest

from support.judges import REFUSAL
from support.town import Town
from support.words import policy

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("scenarios")]


@pytest.mark.parametrize("provider", ["judge-http", "judge-grpc"])
def test_only_what_the_rules_take_is_asked_about(town: Town, provider: str) -> None:
    asked = town.http_judge.asked if provider == "judge-http" else town.asked
    asked.clear()
    rules = f"action: CUSTOM, provider: {{name: {provider}}}, rules: [{{to: [{{operation: {{paths: [/headers]}}}}]}}]"
    with town.scene.holding(policy("ask", f"selector: {{matchLabels: {{app: echo}}}}, {rules}")):
        call, url = town.scene.call, "http://echo.foo:8000"
        assert call("caller.foo", f"{url}/headers", x_ext_authz="allow").status == 200
        refused = call("caller.foo", f"{url}/headers", x_ext_authz="deny")
        assert (refused.status, refused.body) == (403, REFUSAL)
        assert call("caller.foo", f"{url}/headers").status == 403
        assert asked == ["/headers"] * 3
        assert call("caller.foo", f"{url}/ip", x_ext_authz="deny").status == 200
        assert len(asked) == 3, "what no rule takes is not asked about"
        assert [town.scene.can(f"{url}{path}", source="foo/caller") for path in ("/headers", "/ip")] == ["depends", "yes"]
        deny = policy("deny", "selector: {matchLabels: {app: echo}}, action: DENY, rules: [{to: [{operation: {paths: [/headers]}}]}]")
        with town.scene.holding(deny):
            again = call("caller.foo", f"{url}/headers", x_ext_authz="allow")
            assert (again.status, again.body) == (403, b"RBAC: access denied"), "its yes is not the last word"
