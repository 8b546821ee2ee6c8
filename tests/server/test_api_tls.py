"""What the control plane shows over TLS, whom clients take for it, and what changes while it runs."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tulle.ca import files
from tulle.ca.authority import Authority
from tulle.ca.front import Front
from tulle.ca.keys import new_key
from tulle.model.identity import Identity, control_plane
from tulle.model.tls import Hidden
from tulle.secure import check_peer, context_of, explained, show
from tulle.server.openness import warnings
from tulle.server.tls import ApiContext, CertificateError, own_hosts
from tulle.settings import SettingsError, read_settings

START = datetime.now(UTC)


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now


def meet(server: ssl.SSLContext, client: ssl.SSLContext, host: str = "127.0.0.1") -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake without a network. Raises what the client, or else the server, has against it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=host)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[int] = set()
    for _ in range(10):
        for side in (one, other):
            try:
                side.do_handshake()
                done.add(id(side))
            except ssl.SSLWantReadError:
                continue
    assert len(done) == 2
    check_peer(one, host)
    return one, other


def serial(of: ssl.SSLObject) -> int:
    return x509.load_der_x509_certificate(of.getpeercert(binary_form=True) or b"").serial_number


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca", "cluster.local")


def test_a_control_plane_is_known_by_its_identity(authority: Authority) -> None:
    meet(ApiContext.of(Front(authority)), context_of(authority.bundle()), "10.1.2.3")


def test_no_workload_is_taken_for_it(authority: Authority) -> None:
    for name in (Identity(namespace="shop", service_account="control"), Identity(namespace="tulle-system", service_account="other")):
        issued = authority.issue(name)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        show(server, issued.chain, issued.key or Hidden(b""))
        with pytest.raises(ssl.SSLCertVerificationError, match="neither for a control plane nor for 10"):
            meet(server, context_of(authority.bundle()), "10.1.2.3")


def test_nor_another_meshs_control_plane(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "cluster.local")
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        meet(ApiContext.of(Front(other)), context_of(authority.bundle()))
    assert "--ca-file" in explained(caught.value, "https://10.1.2.3:8500")


def own(authority: Authority, folder: Path, *hosts: str) -> tuple[str, str]:
    """Files with an operator's certificate."""
    issued = authority.issue(Identity(namespace="x", service_account="y"), hosts=hosts)
    (folder / "cert.pem").write_bytes(issued.chain)
    key = folder / "key.pem"
    key.touch(0o600)
    key.write_bytes(issued.key.reveal() if issued.key else b"")
    return str(folder / "cert.pem"), str(key)


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("mesh.example", True),
        ("MESH.example.", True),
        ("a.wild.example", True),
        ("192.0.2.7", True),
        ("wild.example", False),
        ("a.b.wild.example", False),
        ("other.example", False),
        ("192.0.2.8", False),
    ],
)
def test_an_operators_own_certificate_is_known_by_its_names(authority: Authority, tmp_path: Path, host: str, good: bool) -> None:
    public = Authority(tmp_path / "public", "public.example")
    server = ApiContext.of(Front(authority), *own(public, tmp_path, "mesh.example", "*.wild.example", "192.0.2.7"))
    if good:
        meet(server, context_of(public.bundle()), host)
    else:
        with pytest.raises(ssl.SSLCertVerificationError, match="neither for a control plane nor"):
            meet(server, context_of(public.bundle()), host)


def test_an_operators_certificate_that_is_replaced_is_shown_to_those_who_come_next(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = ApiContext.of(Front(authority), *own(authority, tmp_path, "mesh.example"))
    client = context_of(authority.bundle())
    first = serial(meet(server, client, "mesh.example")[0])
    (tmp_path / "cert.pem").write_text("half of a file")
    for _ in range(2):
        assert serial(meet(server, client, "mesh.example")[0]) == first
    assert len(caplog.records) == 1, "which is told, once"
    (tmp_path / "cert.pem").unlink()
    assert serial(meet(server, client, "mesh.example")[0]) == first
    assert len(caplog.records) == 2
    own(authority, tmp_path, "mesh.example")
    assert serial(meet(server, client, "mesh.example")[0]) != first


def test_files_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    front = Front(authority)
    certificate, key = own(authority, tmp_path, "mesh.example")
    with pytest.raises(CertificateError, match="cannot be read"):
        ApiContext.of(front, str(tmp_path / "none"), key)
    Path(key).chmod(0o644)
    with pytest.raises(CertificateError, match="can be read by others"):
        ApiContext.of(front, certificate, key)
    Path(key).chmod(0o600)
    Path(key).write_text("no key")
    with pytest.raises(CertificateError, match="do not belong together"):
        ApiContext.of(front, certificate, key)
    Path(key).write_bytes(new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")))
    with pytest.raises(CertificateError, match="the key has a password: write it without one"):
        ApiContext.of(front, certificate, key)
    for given in ({"TULLE_API_CERT": "x"}, {"TULLE_API_KEY": "x"}):
        with pytest.raises(SettingsError, match="of no use without the other"):
            read_settings(given)
    with pytest.raises(SettingsError, match="not a host as certificates name it"):
        read_settings({"TULLE_API_NAMES": "mesh.example,bücher.example"})


def test_who_connects_in_the_middle_of_a_rotation_stops_nobody_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies shake hands in threads of their own, also while the files are read."""
    authority = Authority(tmp_path / "ca", "cluster.local")
    front, read = Front(authority), files.read

    def read_slowly(folder: Path) -> files.Generation:
        front.shown()
        return read(folder)

    monkeypatch.setattr(files, "read", read_slowly)
    for step in (authority.begin, authority.switch, authority.finish):
        step()
        assert front.shown().roots == authority.bundle()


def test_each_connection_gets_what_holds_when_it_is_made(tmp_path: Path) -> None:
    clock = Clock()
    clock.now -= timedelta(hours=13)
    authority = Authority(tmp_path / "ca", "cluster.local", now=clock)
    server, old_roots = ApiContext.of(Front(authority, now=clock)), authority.bundle()
    first = serial(meet(server, context_of(old_roots))[0])
    assert serial(meet(server, context_of(old_roots))[0]) == first
    clock.now += timedelta(hours=13)
    assert (renewed := serial(meet(server, context_of(old_roots))[0])) != first
    for step in (authority.begin, authority.switch):
        step()
        meet(server, context_of(authority.bundle()))
    assert serial(meet(server, context_of(authority.bundle()))[0]) != renewed
    authority.finish()
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(server, context_of(old_roots))


def test_a_certificate_is_taken_and_none_is_asked_for(authority: Authority, tmp_path: Path) -> None:
    server, roots = ApiContext.of(Front(authority)), authority.bundle()
    assert not meet(server, context_of(roots))[1].getpeercert()
    member = authority.issue(Identity(namespace="shop", service_account="web"))
    assert meet(server, context_of(roots, member.chain, member.key))[1].getpeercert()
    foreign = Authority(tmp_path / "other", "cluster.local").issue(Identity(namespace="shop", service_account="web"))
    with pytest.raises(ssl.SSLError):
        meet(server, context_of(roots, foreign.chain, foreign.key))


def test_the_certificate_is_for_all_names_of_the_machine(authority: Authority) -> None:
    said = read_settings({"TULLE_API": "0.0.0.0:8500", "TULLE_API_NAMES": "mesh.example, 192.0.2.7"})
    hosts = own_hosts(said)
    assert {"localhost", "127.0.0.1", "::1", "mesh.example", "192.0.2.7"} <= set(hosts)
    certificate = x509.load_pem_x509_certificate(Front(authority, hosts).shown().issued.chain)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert control_plane("cluster.local").uri() in names.get_values_for_type(x509.UniformResourceIdentifier)
    assert "mesh.example" in names.get_values_for_type(x509.DNSName)
    assert "0.0.0.0" not in map(str, names.get_values_for_type(x509.IPAddress))


@pytest.mark.parametrize(
    ("given", "api", "xds"),
    [
        ({}, False, False),
        ({"TULLE_API": "0.0.0.0:8500", "TULLE_XDS": "[::]:15010"}, True, True),
        ({"TULLE_API_TLS": "on", "TULLE_XDS_TLS": "on"}, True, True),
        ({"TULLE_API": "10.0.0.1:8500", "TULLE_API_TLS": "off"}, False, False),
        ({"TULLE_API_CERT": "a", "TULLE_API_KEY": "b"}, True, False),
    ],
)
def test_when_tls_is_spoken(given: dict[str, str], api: bool, xds: bool) -> None:
    settings = read_settings(given)
    assert (settings.api_is_tls, settings.xds_is_tls) == (api, xds)


def test_what_is_open_is_told() -> None:
    def told(**given: str) -> list[str]:
        return [text for text, _ in warnings(read_settings({f"TULLE_{name}": value for name, value in given.items()}))]

    assert told() == []
    assert told(API="0.0.0.0:8500", XDS="0.0.0.0:15010") == []
    assert len(told(API="0.0.0.0:8500", ACL="allow")) == 1
    assert len(told(API="0.0.0.0:8500", API_TOKENS="off")) == 1
    assert len(told(XDS="0.0.0.0:15010", XDS_TLS="off")) == 2
    assert len(told(API="0.0.0.0:8500", API_TLS="off")) == 1
    assert len(told(DNS="0.0.0.0:8600")) == 1


def test_what_went_wrong_is_explained() -> None:
    assert "https://" in explained(ConnectionResetError(), "http://10.0.0.1:8500")
    wrong = ssl.SSLError(1, "x")
    wrong.reason = "WRONG_VERSION_NUMBER"
    assert "--api-tls off" in explained(wrong, "https://10.0.0.1:8500")
    assert explained(ConnectionRefusedError(111, "Connection refused"), "https://10.0.0.1:8500") == "Connection refused"
