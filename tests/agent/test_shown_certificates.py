"""What Envoy says of the certificates that it uses."""

from __future__ import annotations

from typing import Any

from tulle.agent.certificates import Shown, shown


def said(serial: str, name: str) -> dict[str, Any]:
    times = {"valid_from": "2026-01-01T00:00:00Z", "expiration_time": "2026-01-02T00:00:00Z", "days_until_expiration": "0"}
    return {"serial_number": serial, "subject_alt_names": [{"uri": name}], **times}


def test_each_is_told_once_whatever_it_is_used_for() -> None:
    own, above = said("0a1b", "spiffe://cluster.local/ns/default/sa/web"), said("ff", "spiffe://cluster.local")
    use = {"ca_cert": [said("ee", "root")], "cert_chain": [own, above]}
    (one,) = shown({"certificates": [use, use, {"ca_cert": [], "cert_chain": []}]})
    names = ("spiffe://cluster.local/ns/default/sa/web",)
    assert one == Shown(serial="a1b", names=names, not_before="2026-01-01T00:00:00Z", not_after="2026-01-02T00:00:00Z")


def test_a_proxy_without_certificates() -> None:
    assert shown({}) == ()
