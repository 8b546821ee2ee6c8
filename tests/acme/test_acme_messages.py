"""What is sent to authorities, and what is made of their answers: a small authority that says what a test wants."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from support.certificates import Ca
from tulle.ca.keys import load_key, new_key
from tulle.model.challenges import ChallengeType
from tulle.model.tls import Hidden
from tulle.reach import Reach
from tulle.resources.security.certificate import Algorithm, KeyWish
from tulle.server.acme import directory, jws, material, orders
from tulle.server.acme.directory import AcmeError
from tulle.server.acme.material import UnfitError

CA = Ca()
Reply = tuple[int, dict[str, str], Any]


class Authority:
    """Answers what `replies` has for a path, the last one again and again. `heard` are the signed requests."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.replies: dict[str, list[Reply]] = {
            "/dir": [(200, {}, {"newNonce": f"{base}/nonce", "newAccount": f"{base}/account", "newOrder": f"{base}/order"})],
            "/nonce": [(204, {}, None)],
            "/account": [(201, {"location": f"{base}/me"}, {"status": "valid"})],
        }
        self.heard: list[tuple[str, dict[str, Any], Any]] = []
        self.nonces = 0

    def reply(self, path: str) -> Reply:
        waiting = self.replies.get(path, [(404, {}, {"type": "x:malformed", "detail": f"nothing at {path}"})])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def authority(folder: Path) -> Iterator[Authority]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert self.headers["content-type"] == "application/jose+json"
            payload = jws.decoded(body["payload"])
            made.heard.append(
                (self.path, json.loads(jws.decoded(body["protected"])) | {"_": body}, json.loads(payload) if payload else None)
            )
            self.answer()

        def answer(self) -> None:
            status, headers, said = made.reply(self.path)
            body = said if isinstance(said, bytes) else b"" if said is None else json.dumps(said).encode()
            made.nonces += 1
            self.send_response(status)
            for name, value in {"replay-nonce": f"n{made.nonces}", "content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trust.load_cert_chain(*CA.issue("127.0.0.1").write(folder, "authority"))
    server.socket = trust.wrap_socket(server.socket, server_side=True)
    (folder / "ca.pem").write_bytes(CA.pem)
    made = Authority(f"https://127.0.0.1:{server.server_address[1]}")
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield made
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


async def account(of: Authority, folder: Path) -> orders.Account:
    return await orders.account(await directory.opened(f"{of.base}/dir", str(folder / "ca.pem")), new_key(), "ops@example.com", None)


def test_requests_are_signed_as_the_standard_says(tmp_path: Path) -> None:
    async def run() -> None:
        with authority(tmp_path) as of:
            by = await account(of, tmp_path)
            of.replies["/thing"] = [(200, {}, {"a": 1})]
            assert (await by.post(f"{of.base}/thing")).said == {"a": 1}
            (_, first, made), (_, second, asked) = of.heard
            assert made == {"termsOfServiceAgreed": True, "contact": ["mailto:ops@example.com"]}
            assert asked is None
            assert first["jwk"] == jws.public(by.key)
            assert "kid" not in first
            assert (second["kid"], "jwk" in second) == (f"{of.base}/me", False)
            assert len({first["nonce"], second["nonce"]}) == 2
            assert (first["url"], second["url"]) == (f"{of.base}/account", f"{of.base}/thing")
            for head in (first, second):
                body = head["_"]
                raw = jws.decoded(body["signature"])
                signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
                by.key.public_key().verify(signature, f"{body['protected']}.{body['payload']}".encode(), ECDSA(SHA256()))

    asyncio.run(run())


def test_a_nonce_that_is_turned_down_is_no_failure(tmp_path: Path) -> None:
    bad = (400, {}, {"type": "urn:ietf:params:acme:error:badNonce", "detail": "stale"})

    async def run() -> None:
        with authority(tmp_path) as of:
            by = await account(of, tmp_path)
            of.replies["/thing"] = [bad, bad, bad, (200, {}, {"a": 1})]
            assert (await by.post(f"{of.base}/thing", {})).said == {"a": 1}
            of.replies["/thing"] = [bad]
            with pytest.raises(AcmeError, match="stale"):
                await by.post(f"{of.base}/thing", {})

    asyncio.run(run())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("soon", None), ("in an hour", 3600), ("-5", None), ("", None)],
)
def test_a_refusal_says_why_and_when_to_come_again(tmp_path: Path, header: str, seconds: int | None) -> None:
    said = {
        "type": "urn:ietf:params:acme:error:rateLimited",
        "detail": "too many\ncertificates",
        "subproblems": [{"type": "urn:ietf:params:acme:error:dns", "detail": "no such name"}],
    }

    async def run() -> None:
        with authority(tmp_path) as of:
            by = await account(of, tmp_path)
            when = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True) if header == "in an hour" else header
            of.replies["/order"] = [(429, {"retry-after": when} if when else {}, said)]
            with pytest.raises(AcmeError) as told:
                await orders.begin(by, ["a.example.com"], ChallengeType.HTTP_01, datetime.now(UTC))
            assert str(told.value) == "the authority refuses: too many certificates (rateLimited); no such name (dns)"
            assert told.value.kind == "rateLimited"
            after = told.value.retry_after
            assert after is None if seconds is None else after and abs(after.total_seconds() - seconds) < 60

    asyncio.run(run())


@pytest.mark.parametrize(
    ("challenges", "why"),
    [
        ([{"type": "dns-01", "url": "x", "token": "t"}], "the authority does not offer http-01, but dns-01"),
        ([], "the authority does not offer http-01, but nothing"),
        ([{"type": "http-01", "url": "x", "token": "../../admin"}], "asks something that cannot be answered"),
        ([{"type": "http-01", "url": "x", "token": "a b"}], "asks something that cannot be answered"),
        ([{"type": "http-01", "url": 7, "token": "abc"}], "asks something that cannot be answered"),
        ([{"type": "http-01", "url": "x", "token": ""}], "asks something that cannot be answered"),
    ],
)
def test_what_an_authority_asks_is_looked_at_before_it_is_answered(tmp_path: Path, challenges: list[Any], why: str) -> None:
    async def run() -> None:
        with authority(tmp_path) as of:
            by = await account(of, tmp_path)
            made = {"status": "pending", "authorizations": [f"{of.base}/z"], "finalize": f"{of.base}/f"}
            of.replies["/order"] = [(201, {"location": f"{of.base}/o"}, made)]
            of.replies["/z"] = [(200, {}, {"status": "pending", "identifier": {"value": "a.example.com"}, "challenges": challenges})]
            with pytest.raises(AcmeError, match=f"a.example.com.*{why}"):
                await orders.begin(by, ["a.example.com"], ChallengeType.HTTP_01, datetime.now(UTC))

    asyncio.run(run())


def test_no_redirection_is_followed_and_nothing_but_https_is_asked(tmp_path: Path) -> None:
    async def run() -> None:
        with authority(tmp_path) as of:
            of.replies["/dir"] = [(302, {"location": "http://169.254.169.254/latest"}, None)]
            with pytest.raises(AcmeError, match="the authority refuses: 302"):
                await directory.opened(f"{of.base}/dir", str(tmp_path / "ca.pem"))
            of.replies["/dir"] = [(200, {}, {"newNonce": "http://127.0.0.1/nonce", "newAccount": f"{of.base}/account"})]
            with pytest.raises(AcmeError, match="a URL without https"):
                await account(of, tmp_path)
            of.replies["/dir"] = [(200, {}, {"newNonce": f"{of.base}/nonce", "newAccount": "https://169.254.169.254/a"})]
            with pytest.raises(AcmeError, match=r"https://169\.254\.169\.254/a leads to an address that is not asked"):
                await account(of, tmp_path)
            with pytest.raises(AcmeError, match=r"/dir leads to an address that is not asked, unless TULLE_FETCH_ALLOW"):
                await directory.opened(f"{of.base}/dir", str(tmp_path / "ca.pem"), Reach(loopback=False))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([1, 2], "lacks newNonce|lacks newAccount"),
        (b"<html>", "lacks newAccount"),
        ({"newAccount": 7}, "lacks newAccount: is this the URL of"),
    ],
)
def test_what_is_no_directory_is_told(tmp_path: Path, said: Any, why: str) -> None:
    async def run() -> None:
        with authority(tmp_path) as of:
            of.replies["/dir"] = [(200, {}, said)]
            with pytest.raises(AcmeError, match=why):
                await account(of, tmp_path)

    asyncio.run(run())


def test_an_authority_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    async def run() -> None:
        with authority(tmp_path) as of:
            with pytest.raises(AcmeError, match="certificate verify failed"):
                await directory.opened(f"{of.base}/dir", "")
            with pytest.raises(AcmeError, match=r"issuer\.caFile /nowhere cannot be used: No such file"):
                await directory.opened(f"{of.base}/dir", "/nowhere")
            (tmp_path / "empty").write_text("nothing")
            os.mkfifo(tmp_path / "pipe")
            for none in (tmp_path / "empty", tmp_path / "pipe", "/dev/zero"):
                with pytest.raises(AcmeError, match="it holds no certificate in PEM"):
                    await directory.opened(f"{of.base}/dir", str(none))
        with pytest.raises(AcmeError, match="no answer from"):
            await directory.opened(f"{of.base}/dir", str(tmp_path / "ca.pem"))

    asyncio.run(run())


def test_base64url_is_read_strictly() -> None:
    assert jws.decoded(jws.encoded(b"\xff\xfe\x00")) == b"\xff\xfe\x00"
    for text in ("a+b/", "a b", "abc=d", "é"):
        with pytest.raises(ValueError, match="base64url"):
            jws.decoded(text)


# === keys and certificates


@pytest.mark.parametrize(
    ("wish", "kind"), [(KeyWish(), "256"), (KeyWish(size=384), "384"), (KeyWish(algorithm=Algorithm.RSA), "2048")], ids=str
)
def test_keys_are_as_they_are_wished_for(wish: KeyWish, kind: str) -> None:
    key = material.new_key(wish)
    assert str(load_key(key.reveal()).key_size) == kind
    assert material.suits(key, wish)
    assert not material.suits(key, KeyWish(algorithm=Algorithm.RSA, size=4096))
    assert not material.suits(Hidden(b"none"), wish)
    asked = x509.load_der_x509_csr(material.request(key, ["a.example.com", "b.example.com"]))
    assert asked.is_signature_valid
    names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example.com", "b.example.com"]


def test_what_answers_tls_alpn_01_is_as_the_standard_says() -> None:
    """RFC 8737, section 3: one name, and a critical extension with the digest of the answer as an OCTET STRING."""
    chain, key = material.validation("a.example.com", "token.print", datetime.now(UTC))
    found = x509.load_pem_x509_certificate(chain.reveal())
    assert found.public_key() == load_key(key.reveal()).public_key()
    assert found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == [
        "a.example.com"
    ]
    proof = found.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert proof.critical
    assert isinstance(proof.value, x509.UnrecognizedExtension)
    assert proof.value.value == b"\x04\x20" + hashlib.sha256(b"token.print").digest()
    found.verify_directly_issued_by(found)


def test_what_an_authority_gives_must_be_what_was_asked_for() -> None:
    good, other = CA.issue("a.example.com", "b.example.com"), CA.issue("a.example.com")
    assert material.given(good.certificate, Hidden(good.key), ["a.example.com"]).serial == f"{good.serial:x}"
    with pytest.raises(UnfitError, match="is not the key of the certificate"):
        material.given(good.certificate, Hidden(other.key), ["a.example.com"])
    with pytest.raises(UnfitError, match=r"is not for c\.example\.com"):
        material.given(good.certificate, Hidden(good.key), ["a.example.com", "c.example.com"])
    with pytest.raises(UnfitError, match="holds no certificate"):
        material.given(b"<html>", Hidden(good.key), ["a.example.com"])
