"""Secrets as documents: which parts are found under which names, what is refused, and that no message shows any of it."""

from __future__ import annotations

import base64
import json
import pickle
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from support.certificates import Ca, secret, tls_secret
from tulle.model.resource import Resource
from tulle.model.tls import Hidden
from tulle.resources import codec
from tulle.resources.core_secret import age_warnings
from tulle.resources.read import read

CA = Ca()
PAIR = CA.issue("a.example.com")
CERT, KEY = PAIR.certificate, PAIR.key
VERSION, KIND = bytes.fromhex("a003020102"), bytes.fromhex("06072a8648ce3d0201")
"""In a certificate's DER: its version, and that its key is on an elliptic curve."""


def odd(part: bytes) -> bytes:
    """A certificate with another byte at the end of a part: of a version that there is not, or for a key of a kind that nobody knows."""
    der = ssl.PEM_cert_to_DER_cert(CERT.decode())
    assert der.count(part) == 1
    return ssl.DER_cert_to_PEM_cert(der.replace(part, part[:-1] + b"\x63")).encode()


def the(text: str) -> Resource[Any]:
    found = read(text, "f.yaml")
    assert not found.violations, [str(v) for v in found.violations]
    (resource,) = found.resources
    return resource


@pytest.mark.parametrize(
    "entries",
    [
        {"tls_crt": CERT, "tls_key": KEY, "ca_crt": CA.pem},
        {"cert": CERT, "key": KEY, "cacert": CA.pem},
        {"tls_crt": CERT, "tls_key": KEY, "cacert": CA.pem, "unrelated": b"\xff"},
    ],
)
def test_the_parts(entries: dict[str, bytes]) -> None:
    spec = the(secret("a", **entries)).spec
    assert (spec.chain, spec.key, spec.roots, spec.revoked) == (Hidden(CERT), Hidden(KEY), Hidden(CA.pem), None)


@pytest.mark.parametrize("type_", ["Opaque", "example.com/mine", "kubernetes.io/basic-auth", "istio.io/key-and-cert"])
def test_other_types_and_names_are_anybodys(type_: str) -> None:
    assert the(f"type: {type_}\n" + secret("a", key=b"of an API", username=b"me")).spec.chain is None


def test_text_that_is_not_encoded_wins() -> None:
    text = secret("a", password=b"old") + "stringData: {password: new}\n"
    resource = the(text)
    assert resource.spec.revealed()["data"] == {"password": base64.b64encode(b"new").decode()}
    assert json.loads(resource.document)["data"] == {"password": "(hidden)"}


def test_the_store_gets_all_of_it_back() -> None:
    resource = the(tls_secret("a", PAIR, CA))
    again = codec.restore(codec.dump(resource), created=3, revision=4)
    assert again.spec == resource.spec
    assert again.document == resource.document
    assert "hidden" in resource.document


P224 = CA.issue("a", key=ec.generate_private_key(ec.SECP224R1()))
TYPE = "type: kubernetes.io/tls\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (secret("a", tls_crt=CERT, tls_key=CA.issue("b").key), 'data["tls.key"]: is not the key of the certificate beside it'),
        (secret("a", tls_crt=b"x", tls_key=KEY), 'data["tls.crt"]: holds no certificate: it must be PEM, with -----BEGIN CERTIFICATE-----'),
        (
            secret("a", cert=CERT, key=CERT),
            "data.key: holds no private key: it must be PEM, with -----BEGIN PRIVATE KEY-----",
        ),
        (secret("a", tls_crt=CERT, tls_key=KEY[:90] + KEY[120:]), 'data["tls.key"]: is a private key that cannot be read'),
        (secret("a", tls_crt=CERT[:90] + CERT[120:], tls_key=KEY), 'data["tls.crt"]: holds a certificate that cannot be read'),
        (secret("a", tls_crt=odd(VERSION), tls_key=KEY), 'data["tls.crt"]: holds a certificate that cannot be read'),
        (secret("a", tls_crt=odd(KIND), tls_key=KEY), 'data["tls.key"]: is not the key of the certificate beside it'),
        (tls_secret("a", P224), 'data["tls.key"]: is on the curve secp224r1: proxies take P-256, P-384 and P-521'),
        (secret("a", ca_crt=b"x"), 'data["ca.crt"]: holds no certificate: it must be PEM, with -----BEGIN CERTIFICATE-----'),
        (TYPE + secret("a", tls_crt=CERT), 'data["tls.key"]: required where type is kubernetes.io/tls'),
        (secret("a", tls_crt=CERT), 'data["tls.key"]: required beside tls.crt: one is of no use without the other'),
        (secret("a", tls_key=KEY), 'data["tls.crt"]: required beside tls.key: one is of no use without the other'),
        (
            "type: kubernetes.io/tsl\n" + secret("a", tls_crt=CERT, tls_key=KEY),
            'type: Kubernetes has no type kubernetes.io/tsl; did you mean "kubernetes.io/tls"?',
        ),
        (secret("a") + "  a: '%'\n", "data.a: must be base64; what is not encoded goes under stringData"),
        (secret("a") + "  a: 1\n", "data.a: must be text, in base64"),
        (secret("a") + "  a: (hidden)\n", 'data.a: "(hidden)" is what is shown of a secret, not its value: apply the original'),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: [1]\n", "data: must be a mapping with texts as names"),
        (secret("a", b=b"c") + "spec: {}\n", 'spec: unknown field "spec"'),
    ],
)
def test_what_cannot_be_used(text: str, said: str) -> None:
    (violation,) = read(text, "f.yaml").violations
    assert f"{violation.field}: {violation.message}" == said


def test_a_key_with_a_password() -> None:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

    locked = load_pem_private_key(KEY, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (violation,) = read(secret("a", tls_crt=CERT, tls_key=locked), "f.yaml").violations
    assert violation.message == "is protected by a password: proxies need it without one"


@pytest.mark.parametrize(
    ("days", "said"),
    [(0, "expires on "), (20, ""), (40, "expired on "), (-200, "is not valid before ")],
)
def test_dates(days: int, said: str) -> None:
    now = datetime.now(UTC) + timedelta(days=days + (20 if days == 0 else -5))
    found = age_warnings(the(tls_secret("a", PAIR)), now)
    assert [said in w.message for w in found] == ([True] if said else [])


def test_hidden_bytes_have_no_form_that_shows_them() -> None:
    hidden = Hidden(b"correct horse")
    assert (repr(hidden), str([hidden]), f"{hidden}") == ("(hidden)", "[(hidden)]", "(hidden)")
    with pytest.raises(TypeError):
        json.dumps(hidden)
    with pytest.raises(TypeError):
        pickle.dumps(hidden)
    spec = the(secret("a", password=b"correct horse")).spec
    assert "horse" not in repr(spec) + spec.model_dump_json() + str(spec.model_dump())
