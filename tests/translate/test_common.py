"""What routes have in common is said once, and patches of users find it on each route all the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.views import host, route, source, to
from tulle.model.routing import DirectResponse, Redirect, RetryPolicy, Route
from tulle.protos import pb, to_dict
from tulle.translate.common import spread
from tulle.translate.routes import virtual_host

OFTEN, ONCE = RetryPolicy(attempts=5, retry_on=("5xx",)), RetryPolicy(attempts=1, retry_on=("reset",))
NEVER = RetryPolicy(attempts=0, retry_on=())

forwards = st.sampled_from([OFTEN, OFTEN, ONCE, NEVER, None]).map(lambda retry: to("a", retry=retry))
actions = st.one_of(forwards, forwards, st.sampled_from([DirectResponse(status=404), Redirect(host="b"), to()]))
sources = st.sampled_from([source("a"), source("a", line=7), source("b")])
routes = st.builds(lambda action, of: route(None, action, source=of), actions, sources)


def message(*of: Route) -> Any:
    return virtual_host(host("h", *of))


def test_one_policy_and_one_document_are_said_once() -> None:
    made = message(route("/a", to("a", retry=OFTEN), source=source(line=1)), route("/b", to("a", retry=OFTEN), source=source(line=2)))
    assert made.retry_policy.num_retries.value == 5
    assert to_dict(made.metadata)["filter_metadata"]["istio"]["config"].endswith("/virtual-service/reviews")
    assert not any(one.route.HasField("retry_policy") or one.HasField("metadata") for one in made.routes)


def test_a_route_that_does_not_try_again_says_so() -> None:
    made = message(*(route(None, to("a", retry=retry), source=source()) for retry in (OFTEN, OFTEN, None, NEVER)))
    assert [one.route.HasField("retry_policy") for one in made.routes] == [False, False, True, True]
    assert not made.routes[2].route.retry_policy.ListFields()


def test_what_differs_stays_with_its_route() -> None:
    made = message(route(None, to("a", retry=OFTEN), source=source("a")), route(None, to("a", retry=ONCE), source=source("b")))
    assert not made.HasField("retry_policy")
    assert not made.HasField("metadata")


@given(st.lists(routes, min_size=1, max_size=6), st.booleans())
def test_each_route_gets_back_what_it_would_say_alone(of: list[Route], connect: bool) -> None:
    if connect:
        of = [route(None, to("inside", connect=True)), *of]
    table = pb.RouteConfiguration(name="t", virtual_hosts=[message(*of)])
    spread(table)
    assert list(table.virtual_hosts[0].routes) == [message(one).routes[0] for one in of]
    assert not table.virtual_hosts[0].HasField("retry_policy")
    assert not table.virtual_hosts[0].HasField("metadata")
