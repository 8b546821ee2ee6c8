"""What settings say of identities."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tulle.settings import SettingsError, read_settings


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ({}, True),
        ({"TULLE_XDS": "0.0.0.0:15010"}, True),
        ({"TULLE_XDS": "0.0.0.0:15010", "TULLE_XDS_TLS": "off"}, False),
        ({"TULLE_XDS": "0.0.0.0:15010", "TULLE_XDS_TLS": "off", "TULLE_MUTUAL_TLS": "on"}, True),
        ({"TULLE_XDS_TLS": "off"}, True),
        ({"TULLE_MUTUAL_TLS": "off"}, False),
    ],
)
def test_no_key_goes_over_a_network_in_plain_text_unless_asked_for(given: dict[str, str], on: bool) -> None:
    assert read_settings(given).mesh.mutual_tls is on


def test_the_trust_domain_and_its_neighbours() -> None:
    said = {
        "TULLE_DOMAIN": "mesh.local",
        "TULLE_TRUST_DOMAIN_ALIASES": "old.example",
        "TULLE_FEDERATION": "a.example=/a.pem, b.example=/b.pem",
        "TULLE_CERTIFICATE_LIFE": "90m",
    }
    found = read_settings(said)
    assert found.mesh.trust_domains == ("mesh.local", "old.example")
    assert found.mesh.believed == ("mesh.local", "old.example", "a.example", "b.example")
    assert found.federation == (("a.example", "/a.pem"), ("b.example", "/b.pem"))
    assert found.certificate_life == timedelta(minutes=90)
    assert read_settings({**said, "TULLE_TRUST_DOMAIN": "new.example"}).mesh.trust_domains[0] == "new.example"


@pytest.mark.parametrize(
    ("given", "hours"),
    [
        ({}, 9.6),
        ({"TULLE_CERTIFICATE_LIFE": "1h"}, 0.4),
        ({"TULLE_CERTIFICATE_LIFE": "1h", "TULLE_CONNECTION_LIFE": "30m"}, 0.5),
        ({"TULLE_CONNECTION_LIFE": "off"}, None),
    ],
)
def test_connections_end_before_the_certificates_that_they_began_with(given: dict[str, str], hours: float | None) -> None:
    assert read_settings(given).mesh.connection_life == (None if hours is None else timedelta(hours=hours))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("TRUST_DOMAIN", "Shop", "'Shop' is not a trust domain"),
        ("TRUST_DOMAIN", "a/b", "'a/b' is not a trust domain"),
        ("FEDERATION", "a.example", "'a.example' is not TRUST_DOMAIN=FILE"),
        ("FEDERATION", "cluster.local=a.pem", "cluster.local is the mesh's own trust domain"),
        ("FEDERATION", "a.example=a.pem,a.example=b.pem", "a.example is given twice"),
        ("CERTIFICATE_LIFE", "10s", "'10s' is not a life for certificates"),
        ("CERTIFICATE_LIFE", "1000000h", "is not a"),
        ("CONNECTION_LIFE", "never", "'never' is not a duration"),
        ("JOIN_GATEWAY", "shop/edge,edge", "'edge' is not NAMESPACE/SERVICE_ACCOUNT"),
        ("MUTUAL_TLS", "perhaps", "'perhaps' is not one of auto, on, off"),
    ],
)
def test_mistakes(name: str, text: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        read_settings({f"TULLE_{name}": text})


def test_an_older_name_of_the_mesh_is_nobody_elses() -> None:
    with pytest.raises(SettingsError, match=r"old\.example is the mesh's own trust domain"):
        read_settings({"TULLE_TRUST_DOMAIN_ALIASES": "old.example", "TULLE_FEDERATION": "old.example=a.pem"})
