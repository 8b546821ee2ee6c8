"""The authority: what it makes, what it refuses, and each step of a rotation, cut short anywhere."""

from __future__ import annotations

import base64
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from tulle.ca.authority import Authority, Stage
from tulle.ca.files import AuthorityError
from tulle.ca.keys import load_key
from tulle.model.identity import Identity

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEB = Identity(namespace="shop", service_account="web")


def authority(tmp_path: Path, **more: object) -> Authority:
    return Authority(tmp_path / "ca", "cluster.local", now=lambda: NOW, **more)  # type: ignore[arg-type]


def request(uri: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    asked = x509.CertificateSigningRequestBuilder(subject_name=x509.Name([]))
    asked = asked.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
    return asked.sign(key, SHA256()).public_bytes(Encoding.PEM)


def trusts(of: Authority, chain: bytes, at: datetime = NOW) -> str:
    """The identity in a chain that the roots of an authority vouch for. Raises VerificationError."""
    leaf, *between = x509.load_pem_x509_certificates(chain)
    store = Store(x509.load_pem_x509_certificates(of.bundle()))
    verified = PolicyBuilder().store(store).time(at).build_client_verifier().verify(leaf, between)
    (name,) = verified.subjects or ()
    return str(name.value)


def test_a_leaf_is_what_spiffe_asks_for(tmp_path: Path) -> None:
    of = authority(tmp_path)
    issued = of.issue(WEB)
    leaf = x509.load_pem_x509_certificates(issued.chain)[0]
    assert trusts(of, issued.chain) == "spiffe://cluster.local/ns/shop/sa/web"
    assert leaf.subject == x509.Name([])
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert (leaf.not_valid_after_utc - NOW, leaf.serial_number) == (timedelta(hours=24), issued.serial)
    assert issued.key
    key = load_key(issued.key.reveal())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert key.public_key() == leaf.public_key()


def test_no_leaf_outlives_its_signer(tmp_path: Path) -> None:
    issued = authority(tmp_path).issue(WEB, lifetime=timedelta(days=100_000))
    signer = x509.load_pem_x509_certificates(issued.chain)[1]
    assert issued.not_after == signer.not_valid_after_utc


def test_keys_are_for_this_user_only_and_stay(tmp_path: Path) -> None:
    before = authority(tmp_path).roots()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "ca/current").iterdir()}
    assert modes == {0o600}
    assert authority(tmp_path).roots() == before
    assert "PRIVATE" not in repr(authority(tmp_path).issue(WEB))


def test_a_request_is_signed_and_the_key_stays_away(tmp_path: Path) -> None:
    of, key = authority(tmp_path), ec.generate_private_key(ec.SECP256R1())
    issued = of.sign(request(WEB.uri(), key), WEB)
    assert issued.key is None
    assert x509.load_pem_x509_certificates(issued.chain)[0].public_key() == key.public_key()
    assert trusts(of, issued.chain) == WEB.uri()


def test_a_request_for_anothers_identity_is_refused(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(ValueError, match="asks for another identity"):
        authority(tmp_path).sign(request("spiffe://cluster.local/ns/shop/sa/admin", key), WEB)


@pytest.mark.parametrize("name", ["", "a/b", "../web", "web%2f", "Web", "web\n", "a" * 300])
def test_an_identity_cannot_reach_into_another_path(tmp_path: Path, name: str) -> None:
    for identity in (Identity(service_account=name), Identity(namespace=name)):
        with pytest.raises(ValueError, match="is no name for an identity"):
            authority(tmp_path).issue(identity)


def test_weak_and_broken_requests_are_refused(tmp_path: Path) -> None:
    of = authority(tmp_path)
    with pytest.raises(ValueError, match="a key that is not taken"):
        of.sign(request(WEB.uri(), rsa.generate_private_key(65537, 1024)), WEB)
    with pytest.raises(ValueError, match="no certificate request"):
        of.sign(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", WEB)
    good = request(WEB.uri(), ec.generate_private_key(ec.SECP256R1()))
    der = bytearray(x509.load_pem_x509_csr(good).public_bytes(Encoding.DER))
    der[-1] ^= 1
    spoiled = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    with pytest.raises(ValueError, match=r"not signed with the key|no certificate request"):
        of.sign(spoiled, WEB)
    unknown = bytes(der).replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0263"))
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(unknown) + b"-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(ValueError, match="no certificate request"):
        of.sign(pem, WEB)


def test_each_step_of_a_rotation_leaves_everybody_trusted(tmp_path: Path) -> None:
    of = authority(tmp_path)
    old, (first,) = of.issue(WEB), of.roots()
    of.begin()
    assert of.stage is Stage.INTRODUCED
    assert [root.active for root in of.roots()] == [True, False]
    assert of.is_current(of.issue(WEB))
    of.switch()
    assert of.stage is Stage.SWITCHED
    new = of.issue(WEB)
    assert not of.is_current(old)
    assert trusts(of, old.chain) == trusts(of, new.chain) == WEB.uri()
    of.finish()
    assert of.stage is Stage.STEADY
    assert first not in of.roots()
    assert trusts(of, new.chain) == WEB.uri()
    with pytest.raises(x509.verification.VerificationError):
        trusts(of, old.chain)
    assert sorted(path.name for path in (tmp_path / "ca").iterdir()) == ["current"]


@pytest.mark.parametrize("done", [("begin",), ("begin", "switch"), ("begin", "switch", "finish")])
def test_a_rotation_goes_on_where_it_was_after_a_restart(tmp_path: Path, done: tuple[str, ...]) -> None:
    of = authority(tmp_path)
    for step in done:
        getattr(of, step)()
    again = authority(tmp_path)
    assert (again.stage, again.roots()) == (of.stage, of.roots())


def test_a_switch_that_was_cut_short_is_ended_at_the_next_start(tmp_path: Path) -> None:
    of = authority(tmp_path)
    of.begin()
    trusted = {root.fingerprint for root in of.roots()}
    (tmp_path / "ca/current").rename(tmp_path / "ca/previous")
    again = authority(tmp_path)
    assert again.stage is Stage.SWITCHED
    assert {root.fingerprint for root in again.roots()} == trusted


def test_steps_out_of_order_are_refused(tmp_path: Path) -> None:
    of = authority(tmp_path)
    for step in (of.switch, of.finish):
        with pytest.raises(AuthorityError):
            step()
    of.begin()
    with pytest.raises(AuthorityError, match="under way already"):
        of.begin()


def given(tmp_path: Path) -> Path:
    """An operator's own authority, as files."""
    authority(tmp_path)
    directory = tmp_path / "ca/current"
    (directory / "root-key.pem").unlink()
    return directory


def test_an_operators_own_authority_signs_and_is_not_rotated(tmp_path: Path) -> None:
    of = Authority(given(tmp_path), "cluster.local", given=True, now=lambda: NOW)
    assert trusts(of, of.issue(WEB).chain) == WEB.uri()
    with pytest.raises(AuthorityError, match="is yours: put the new root beside the old one"):
        of.begin()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda d, _: (d / "ca-key.pem").unlink(), "ca-key.pem: cannot be read: No such file"),
        (lambda d, _: (d / "ca-key.pem").chmod(0o644), "ca-key.pem: can be read by others; chmod 600 it"),
        (lambda d, _: (d / "ca-cert.pem").write_text("nothing"), "ca-cert.pem: holds no certificate that can be read"),
        (lambda d, o: (d / "ca-key.pem").write_bytes((o / "ca-key.pem").read_bytes()), "ca-key.pem: is not the key of ca-cert.pem"),
        (lambda d, o: (d / "root-cert.pem").write_bytes((o / "root-cert.pem").read_bytes()), "root-cert.pem: has not signed ca-cert.pem"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, spoil: object, why: str) -> None:
    directory = given(tmp_path)
    other = given(tmp_path / "other")
    spoil(directory, other)  # type: ignore[operator]
    with pytest.raises(AuthorityError, match=why) as error:
        Authority(directory, "cluster.local", given=True)
    assert "PRIVATE" not in str(error.value)
