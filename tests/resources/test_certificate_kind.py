"""Certificate (tulle.dev/v1): what is taken, and what is said of the rest."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tulle.model.challenges import ChallengeType
from tulle.resources.read import read
from tulle.resources.security import Certificate
from tulle.resources.security.certificate import LETS_ENCRYPT, RotationPolicy

AGREED = "issuer: {termsOfServiceAgreed: true}"


def document(spec: str) -> str:
    return f"apiVersion: tulle.dev/v1\nkind: Certificate\nmetadata: {{name: shop}}\nspec: {{{spec}}}\n"


def test_little_need_be_said() -> None:
    (found,) = read(document(f"dnsNames: [shop.example.com], {AGREED}"), "f").resources
    spec = found.spec
    assert isinstance(spec, Certificate)
    assert (spec.issuer.server, spec.challenge, spec.renew_before) == (LETS_ENCRYPT, ChallengeType.HTTP_01, None)
    assert (spec.private_key.bits, spec.private_key.rotation_policy) == (256, RotationPolicy.ALWAYS)


def test_all_can_be_said() -> None:
    text = document(
        "secretName: tls, dnsNames: [WWW.example.com., example.com], challenge: TLS-ALPN-01, renewBefore: 240h,"
        " privateKey: {algorithm: RSA, size: 3072, rotationPolicy: Never},"
        " issuer: {server: 'https://ca.example:14000/dir', email: ops@example.com, caFile: /etc/ca.pem, termsOfServiceAgreed: true,"
        " externalAccountBinding: {keyId: k, keySecretRef: {name: account, key: mac}}}"
    )
    (found,) = read(text, "f").resources
    assert found.spec.names == ("example.com", "www.example.com")
    assert (found.spec.private_key.bits, found.spec.renew_before) == (3072, timedelta(days=10))
    assert found.spec.issuer.external_account_binding.key_secret_ref.key == "mac"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (AGREED, "spec.dnsNames: required"),
        (f"dnsNames: [], {AGREED}", "spec.dnsNames: must have at least one item"),
        (f"dnsNames: [a.example.com, a.example.com.], {AGREED}", "spec.dnsNames[1]: 'a.example.com' is given twice"),
        (f"dnsNames: [a.example.com, A.example.com], {AGREED}", "spec.dnsNames[1]: 'a.example.com' is given twice"),
        (f"dnsNames: ['*.example.com'], {AGREED}", "authorities give wildcards for records in DNS (DNS-01) only"),
        (f"dnsNames: [localhost], {AGREED}", "spec.dnsNames[0]: must be a host name with a domain"),
        (f"dnsNames: [127.0.0.1], {AGREED}", "spec.dnsNames[0]: must be a host name with a domain"),
        (f"dnsNames: ['a b.example.com'], {AGREED}", "spec.dnsNames[0]: must be a host name, not 'a b.example.com'"),
        ("dnsNames: [a.example.com]", "spec.issuer: required"),
        ("dnsNames: [a.example.com], issuer: {}", "termsOfServiceAgreed: must be true"),
        ("dnsNames: [a.example.com], issuer: {termsOfServiceAgreed: false}", "(https://letsencrypt.org/repository/)"),
        ("dnsNames: [a.example.com], issuer: {termsOfServiceAgreed: 'yes'}", "spec.issuer.termsOfServiceAgreed: must be true"),
        ("dnsNames: [a.example.com], issuer: {termsOfServiceAgreed: true, server: 'http://a/d'}", "must be a URL with https"),
        ("dnsNames: [a.example.com], issuer: {termsOfServiceAgreed: true, server: 'https://u@a/d'}", "must be a URL with https"),
        ("dnsNames: [a.example.com], issuer: {termsOfServiceAgreed: true, email: nobody}", "spec.issuer.email: must be an address"),
        ("dnsNames: [a.example.com], issuer: {termsOfServiceAgreed: true, email: 'a@b.c?x=1'}", "spec.issuer.email: must be an address"),
        ("dnsNames: [a.example.com], issuer: {termsOfServiceAgreed: true, caFile: ca.pem}", "spec.issuer.caFile: must be an absolute path"),
        (f"dnsNames: [a.example.com], challenge: DNS-01, {AGREED}", "spec.challenge: must be one of HTTP-01, TLS-ALPN-01, not 'DNS-01'"),
        (f"dnsNames: [a.example.com], privateKey: {{size: 2048}}, {AGREED}", "spec.privateKey.size: must be one of 256, 384 where"),
        (f"dnsNames: [a.example.com], renewBefore: 1s, {AGREED}", "spec.renewBefore: must be at least 1m"),
        (f"dnsName: [a.example.com], {AGREED}", 'unknown field "dnsName"; did you mean "dnsNames"?'),
    ],
)
def test_what_is_wrong_is_told_with_its_place(spec: str, said: str) -> None:
    found = read(document(spec), "f.yaml").violations
    told = [str(violation) for violation in found]
    assert any(said in line for line in told), told
    assert all(line.startswith("f.yaml:") and "Certificate/shop: " in line for line in told)
