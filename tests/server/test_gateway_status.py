"""What is said of Gateways and ListenerSets once proxies are known, in the words of the specification."""

from __future__ import annotations

import pytest

from tulle.model.proxy import Node, Role
from tulle.model.resource import Condition
from tulle.server.gateway_status import callers_hidden, gateway_programmed, observed, set_programmed, with_listeners


def condition(status: bool | None, reason: str, type_: str = "Programmed", message: str = "") -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message)


def accepted(status: bool | None, reason: str) -> Condition:
    return condition(status, reason, "Accepted")


DONE, NOBODY = condition(True, "Programmed"), condition(None, "NoProxy")
NO_ADDRESS = condition(False, "Refused", message="gw refuses: cannot bind '192.0.2.9:80': Cannot assign requested address")
FINE = accepted(True, "Accepted")


@pytest.mark.parametrize(
    ("found", "taken", "of_gateway", "of_set"),
    [
        (DONE, FINE, (True, "Programmed"), (True, "Programmed")),
        (DONE, accepted(True, "ListenersNotValid"), (True, "Programmed"), (True, "Programmed")),
        (NOBODY, FINE, (False, "AddressNotAssigned"), (False, "ParentNotProgrammed")),
        (NO_ADDRESS, FINE, (False, "AddressNotUsable"), (False, "Refused")),
        (condition(False, "Pending"), FINE, (False, "Pending"), (False, "Pending")),
        (NOBODY, accepted(False, "UnsupportedAddress"), (False, "Invalid"), (False, "UnsupportedAddress")),
        (NOBODY, accepted(None, "Pending"), (None, "Pending"), (None, "Pending")),
        (NOBODY, accepted(False, "ListenersNotValid"), (False, "Invalid"), (False, "ListenersNotValid")),
        (NOBODY, accepted(False, "ParentNotAccepted"), (False, "Invalid"), (False, "ParentNotProgrammed")),
        (NOBODY, accepted(False, "NotAllowed"), (False, "Invalid"), (False, "NotAllowed")),
    ],
)
def test_programmed(found: Condition, taken: Condition, of_gateway: object, of_set: object) -> None:
    one, two = gateway_programmed(found, taken), set_programmed(found, taken)
    assert ((one.status, one.reason), (two.status, two.reason)) == (of_gateway, of_set)


LISTENERS = {
    "listeners": [
        {"name": name, "conditions": [{"type": "Programmed", "status": status, "reason": reason, "message": ""}]}
        for name, status, reason in (("good", "True", "Programmed"), ("bad", "False", "Invalid"))
    ]
}


def test_listeners_are_no_sooner_served_than_the_proxies_have_them() -> None:
    assert with_listeners(LISTENERS, DONE) == LISTENERS
    waiting = with_listeners(LISTENERS, gateway_programmed(NOBODY, FINE))["listeners"]
    assert [(one["conditions"][0]["status"], one["conditions"][0]["reason"]) for one in waiting] == [
        ("False", "Pending"),
        ("False", "Invalid"),
    ]


def test_conditions_bear_the_generation_that_they_are_about() -> None:
    for generation in (1, 2):
        found = observed({**LISTENERS, "parents": [{"conditions": [{"type": "A", "status": "True", "reason": "B"}]}]}, generation)
        said = [c["observedGeneration"] for part in (*found["listeners"], *found["parents"]) for c in part["conditions"]]
        assert said == [generation] * 3


@pytest.mark.parametrize(
    ("said", "transparent", "told"), [("true", False, True), ("7", False, True), ("true", True, False), ("false", False, False)]
)
def test_endpoints_that_do_not_see_callers(said: str, transparent: bool, told: bool) -> None:
    node = Node(id="gateway~edge", role=Role.GATEWAY, transparent=transparent)
    found = [(c.type, c.reason) for c in callers_hidden(node, {"tulle.dev/original-source": said})]
    assert found == ([("OriginalSource", "NoCapability")] if told else [])
