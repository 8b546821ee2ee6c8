"""Requests: nobody may anything, and then each workload exactly what it needs, down a chain of three."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from support.town import Town
from support.words import policy

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("scenarios")]


def viewer(page: str, by: str = "") -> str:
    """Lets everybody, or one account, read a page."""
    source = f"from: [{{source: {{principals: [cluster.local/ns/shop/sa/{by}]}}}}], " if by else ""
    spec = f"selector: {{matchLabels: {{app: {page}}}}}, action: ALLOW, rules: [{{{source}to: [{{operation: {{methods: [GET]}}}}]}}]"
    return policy(f"{page}-viewer", spec, "shop")


def test_nothing_is_allowed_and_then_page_after_page(town: Town) -> None:
    whole = {"page": "productpage", "details": {"page": "details"}, "reviews": {"page": "reviews", "ratings": {"page": "ratings"}}}
    assert town.shop().said == whole
    with ExitStack() as stack:
        stack.enter_context(town.scene.holding(policy("allow-nothing", "", "shop")))
        refused = town.shop()
        assert (refused.status, refused.body) == (403, b"RBAC: access denied")
        stack.enter_context(town.scene.holding(viewer("productpage")))
        assert town.shop().said == {"page": "productpage", "details": 403, "reviews": 403}
        stack.enter_context(town.scene.holding(viewer("details", "productpage")))
        assert town.shop().said == {"page": "productpage", "details": {"page": "details"}, "reviews": 403}
        stack.enter_context(town.scene.holding(viewer("reviews", "productpage")))
        assert town.shop().said["reviews"] == {"page": "reviews", "ratings": 403}
        stack.enter_context(town.scene.holding(viewer("ratings", "reviews")))
        assert town.shop().said == whole
        assert town.shop("POST").status == 403
        assert town.called("reviews.shop", "http://ratings.shop:9080/") == 200
        assert town.called("details.shop", "http://ratings.shop:9080/") == 403
        assert town.scene.plain("ratings.shop", 9080).status == 403, "who has no identity is not reviews"
    assert town.shop("POST").status == 200


def test_deny_goes_before_allow(town: Town) -> None:
    """A header refuses GET, whatever else allows; then one path is refused to all who lack a good token."""
    url = "http://echo.foo:8000"
    app = "selector: {matchLabels: {app: echo}}, "
    deny = policy("deny-get", app + "action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]")
    with town.scene.holding(deny):
        assert [town.called("caller.foo", f"{url}/", method) for method in ("GET", "POST")] == [403, 200]
    headed = policy(
        "deny-get",
        app + "action: DENY, rules: [{to: [{operation: {methods: [GET]}}], when: [{key: 'request.headers[x-token]', notValues: [admin]}]}]",
    )
    with town.scene.holding(headed):
        assert town.called("caller.foo", f"{url}/", x_token="admin") == 200
        assert town.called("caller.foo", f"{url}/", x_token="guest") == 403
        assert town.called("caller.foo", f"{url}/") == 403, "a header that is missing is not admin"
        allow = policy("allow-headers", app + "action: ALLOW, rules: [{to: [{operation: {methods: [GET], paths: [/headers]}}]}]")
        with town.scene.holding(allow):
            assert town.called("caller.foo", f"{url}/headers", x_token="guest") == 403
            assert town.called("caller.foo", f"{url}/headers", x_token="admin") == 200
            assert town.called("caller.foo", f"{url}/get", x_token="admin") == 403


def test_a_policy_that_is_only_tried(town: Town) -> None:
    """Requests pass; what it would have done is counted and told."""
    spec = "selector: {matchLabels: {app: echo}}, action: DENY, rules: [{to: [{operation: {paths: [/headers]}}]}]"
    with town.scene.holding(policy("tried", spec, dry_run=True)):
        assert town.called("caller.foo", "http://echo.foo:8000/headers") == 200
        told = town.scene.api("POST", "/api/v1/can", {"url": "http://echo.foo:8000/headers", "source": "foo/caller"})
        assert "dry run" in str(told["proxies"][0]["steps"])
    with town.scene.holding(policy("tried", spec)):
        assert town.called("caller.foo", "http://echo.foo:8000/headers") == 403
