"""A control plane that speaks TLS and lets in only whom it knows, as beyond loopback, with members, people and strangers around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import SSLContext
from typing import Any

import grpc

from support.running import TULLE, Place
from support.xds_client import Client, xds_client
from tulle.agent.membership import Membership
from tulle.ca.authority import Authority, Issued
from tulle.ca.joining import requested
from tulle.ca.keys import dump_key, new_key
from tulle.credentials import Credentials
from tulle.http_client import request
from tulle.model.identity import Identity
from tulle.model.tls import Hidden
from tulle.secure import context_of


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate with its key, PEM."""

    chain: str
    key: str

    @classmethod
    def of(cls, member: Membership) -> Pair:
        assert member.papers
        return cls(chain=member.papers.certificate, key=member.papers.key)


class Shows(Credentials):
    def __init__(self, roots: str, token: str = "", pair: Pair | None = None) -> None:
        self._roots, self._token, self._pair = roots, token, pair

    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self._token}"} if self._token else {}

    def context(self) -> SSLContext:
        if self._pair is None:
            return context_of(self._roots)
        return context_of(self._roots, self._pair.chain.encode(), Hidden(self._pair.key.encode()))


@dataclass(kw_only=True)
class Guarded:
    place: Place
    _names: Iterator[int] = field(default_factory=lambda: iter(range(1000)))
    _consul: dict[str, str] = field(default_factory=dict)

    @property
    def api(self) -> str:
        return f"https://127.0.0.1:{self.place.api}"

    @property
    def xds(self) -> str:
        return f"127.0.0.1:{self.place.xds}"

    @property
    def state(self) -> Path:
        return self.place.folder / "state"

    @property
    def roots(self) -> str:
        return (self.state / "ca" / "current" / "root-cert.pem").read_text()

    @property
    def admin(self) -> str:
        return (self.state / "admin-token").read_text().strip()

    def shows(self, token: str = "", pair: Pair | None = None) -> Shows:
        return Shows(self.roots, token, pair)

    async def ask(self, method: str, path: str, body: object = None, by: Credentials | None = None) -> tuple[int, Any]:
        """Status and JSON; an admin asks where nothing else is said."""
        data = b"" if body is None else json.dumps(body).encode()
        answer = await request(self.api, method, path, body=data, credentials=by or self.shows(self.admin), timeout=60)
        return answer.status, answer.json()

    async def token(self, **wanted: object) -> str:
        return str((await self.ask("POST", "/api/v1/tokens", wanted))[1]["token"])

    async def consul(self) -> dict[str, str]:
        """Headers of whoever may do all over Consul's API: its first token, which an admin makes once."""
        if not self._consul:
            made = await request(self.api, "PUT", "/v1/acl/bootstrap", credentials=self.shows(self.admin), timeout=60)
            self._consul["x-consul-token"] = str(made.json()["SecretID"])
        return self._consul

    async def member(self, workload: str = "shop/web", **more: object) -> Membership:
        member = Membership(self.place.folder / f"member-{next(self._names)}.json", self.api, workload, report=print)
        await member.enter(await self.token(**{"for": workload}, **more))
        return member

    async def person(self, **wanted: object) -> Pair:
        """A client certificate with a role."""
        key = new_key()
        status, made = await self.ask("POST", "/api/v1/tokens", {**wanted, "csr": requested(key).decode()})
        assert status == 201, made
        return Pair(chain=made["certificate"], key=dump_key(key).reveal().decode())

    def authority(self, at: datetime | None = None) -> Authority:
        """The mesh's own, as a thief of its files would use it, at another time."""
        return Authority(self.state / "ca", "cluster.local", now=lambda: at or datetime.now(UTC))

    def stranger(self) -> Authority:
        """Another mesh's, which signs in the name of this one's trust domain."""
        return Authority(self.place.folder / "stranger", "cluster.local")

    @asynccontextmanager
    async def proxy(self, pair: Pair | None) -> AsyncIterator[Client]:
        """A stream to the port of proxies."""
        key, chain = (pair.key.encode(), pair.chain.encode()) if pair else (None, None)
        secure = grpc.ssl_channel_credentials(self.roots.encode(), key, chain)
        async with xds_client(self.xds, secure=secure) as client:
            yield client


def forged(authority: Authority, workload: str, holder: str = "", lifetime: timedelta | None = None) -> Pair:
    """What an authority signs for anybody who asks."""
    key = new_key()
    namespace, _, account = workload.partition("/")
    identity = Identity(trust_domain=authority.trust_domain, namespace=namespace, service_account=account)
    issued: Issued = authority.sign(requested(key), identity, holder=holder, lifetime=lifetime)
    return Pair(chain=issued.chain.decode(), key=dump_key(key).reveal().decode())


def holder_of(member: Membership) -> str:
    assert member.papers
    return member.papers.token.split(".")[1]


@contextmanager
def guarded(folder: Path, **more: str) -> Iterator[Guarded]:
    """`more`: variables of its environment."""
    place = Place(folder=folder)
    told = {"TULLE_API_TLS": "on", "TULLE_XDS_TLS": "on", "TULLE_API_TOKENS": "required", "TULLE_DNS": "off"}
    log = folder / "control.log"
    with log.open("wb") as output:
        process = subprocess.Popen([TULLE, "control"], env=place.environment | told | more, cwd=folder, stdout=output, stderr=output)
    try:
        _await(log, process)
        yield Guarded(place=place)
    except BaseException as error:
        error.add_note(log.read_text(errors="replace")[-3000:])
        raise
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()


def _await(log: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while "control plane serves" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)  # there is no event for a line in a file
