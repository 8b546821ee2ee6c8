"""`/v1/connect/ca`, `/v1/agent/connect` and `/v1/discovery-chain`: the mesh as programs see it that speak Consul's Connect themselves.

Certificates bear the mesh's own identities, `spiffe://DOMAIN/ns/default/sa/SERVICE`, so that sidecars and such programs know each
other; Consul's form, `/ns/default/dc/DATACENTER/svc/SERVICE`, is understood where a client shows it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from tulle.model.identity import Identity
from tulle.registry import durations
from tulle.registry.acl.authority import ANONYMOUS
from tulle.registry.registry import Registry
from tulle.registry.transitions import Refused
from tulle.server.consul.app import Route
from tulle.server.consul.config.intentions import IntentionApi
from tulle.server.consul.place import Place
from tulle.server.consul.wire import TRUE_REPLY, Ask, Found, Reply

_PATH = re.compile(r"spiffe://([^/]+)/ns/([^/]+)/(?:sa|dc/[^/]+/svc)/([^/]+)")
_NAMESPACE = "default"


class Root(Protocol):
    """A trusted certificate."""

    @property
    def pem(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def serial(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def not_before(self) -> datetime: ...
    @property
    def not_after(self) -> datetime: ...
    @property
    def active(self) -> bool: ...


class Certificate(Protocol):
    """What a workload shows, with its key."""

    @property
    def chain(self) -> bytes: ...
    @property
    def serial(self) -> int: ...
    @property
    def not_before(self) -> datetime: ...
    @property
    def not_after(self) -> datetime: ...


class Signs(Protocol):
    """The mesh's authority."""

    trust_domain: str
    lifetime: Any

    def roots(self) -> Sequence[Root]: ...
    def issue(self, identity: Identity) -> Any: ...
    def is_current(self, issued: Any) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaf:
    issued: Any
    index: int


class ConnectApi:
    def __init__(self, registry: Registry, place: Place, intentions: IntentionApi, authority: Signs | None) -> None:
        self._registry = registry
        self._place = place
        self._intentions = intentions
        self._authority = authority
        self._leaves: dict[str, _Leaf] = {}

    def routes(self) -> Sequence[Route]:
        return [
            Route(method="GET", path="/v1/connect/ca/roots", handler=self.roots),
            Route(method="GET", path="/v1/agent/connect/ca/roots", handler=self.roots),
            Route(method="GET", path="/v1/agent/connect/ca/leaf/", handler=self.leaf),
            Route(method="GET", path="/v1/connect/ca/configuration", handler=self.configuration),
            Route(method="PUT", path="/v1/connect/ca/configuration", handler=self.configure),
            Route(method="POST", path="/v1/agent/connect/authorize", handler=self.authorize),
        ]

    @property
    def _signs(self) -> Signs:
        if self._authority is None:
            raise Refused(500, "Connect must be enabled in order to use this endpoint")
        return self._authority

    # === the authority

    def roots(self, ask: Ask) -> Found:
        signs = self._signs

        def look() -> Reply:
            found = signs.roots()
            if ask.flag("pem"):
                return Reply(body="".join(root.pem for root in found).encode(), media="application/pem-certificate-chain")
            shown = [_root(root) for root in found]
            active = next((root["ID"] for root in shown if root["Active"]), "")
            return Reply(value={"ActiveRootID": active, "TrustDomain": signs.trust_domain, "Roots": shown})

        return Found(topics=(("roots",),), look=look, index=lambda: max(_second(root.not_before) for root in signs.roots()))

    def leaf(self, ask: Ask) -> Found:
        service = ask.rest
        if not service:
            raise Refused(400, "Missing service name")
        self._guard_keys(ask)
        self._current(service)

        def look() -> Reply:
            leaf = self._current(service)
            issued = leaf.issued
            answer = {
                "SerialNumber": _colons(f"{issued.serial:x}"),
                "CertPEM": issued.chain.decode(),
                "PrivateKeyPEM": issued.key.reveal().decode(),
                "Service": service,
                "ServiceURI": issued.identity.uri(),
                "ValidAfter": _time(issued.not_before),
                "ValidBefore": _time(issued.not_after),
                "CreateIndex": leaf.index,
                "ModifyIndex": leaf.index,
            }
            return Reply(value=answer)

        return Found(topics=(("leaf", service),), look=look, index=lambda: self._current(service).index)

    def _guard_keys(self, ask: Ask) -> None:
        """Raises Refused(403) where anybody on the network could have the key of any service, or make a token for it."""
        if self._place.remote and (self._place.acl != "deny" or ask.authority.accessor == ANONYMOUS):
            raise Refused(403, "Permission denied: keys go to other machines only with --acl deny, which says which token is for which")

    def _current(self, service: str) -> _Leaf:
        """The certificate of a service, made anew when two thirds of its time are over. Raises Refused for a name that none can have."""
        known, signs = self._leaves.get(service), self._signs
        if known and signs.is_current(known.issued) and not _is_due(known.issued):
            return known
        identity = Identity(trust_domain=signs.trust_domain, namespace=_NAMESPACE, service_account=service)
        try:
            issued = signs.issue(identity)
        except ValueError as error:
            raise Refused(400, f"Invalid service name: {error}") from None
        index = max(_second(issued.not_before), known.index + 1 if known else 0)
        leaf = self._leaves[service] = _Leaf(issued=issued, index=index)
        return leaf

    def configuration(self, _: Ask) -> Reply:
        config = {"LeafCertTTL": durations.show(self._signs.lifetime.total_seconds())}
        return Reply(value={"Provider": "consul", "Config": config, "State": None, "CreateIndex": 1, "ModifyIndex": 1})

    def configure(self, ask: Ask) -> Reply:
        """What is so already may be said again. All else is for the settings of the control plane."""
        body = ask.json()
        config, now = body.part("Config"), self._signs.lifetime.total_seconds()
        wanted = config.seconds("LeafCertTTL") if config and config.has("LeafCertTTL") else now
        if body.text("Provider") not in ("", "consul") or wanted != now:
            raise Refused(400, "the authority is configured where the control plane is started, not here")
        return TRUE_REPLY

    # === may a caller come in?

    def authorize(self, ask: Ask) -> Reply:
        body = ask.json()
        target, uri = body.text("Target"), body.text("ClientCertURI")
        if not target:
            raise Refused(400, "Target service must be specified")
        parts = _PATH.fullmatch(uri)
        if parts is None:
            return _verdict(False, f"ClientCertURI not a valid Connect identifier: {uri[:200]!r}")
        if parts[1] != self._signs.trust_domain:
            return _verdict(False, f"Identity from an external trust domain: {parts[1]}")
        return _verdict(*self._intentions.verdict(parts[3], target))


def _verdict(authorized: bool, reason: str) -> Reply:
    return Reply(value={"Authorized": authorized, "Reason": reason})


def _root(root: Root) -> dict[str, Any]:
    return {
        "ID": _colons(root.fingerprint),
        "Name": root.name,
        "SerialNumber": root.serial % (1 << 63),
        "SigningKeyID": _colons(root.fingerprint),
        "NotBefore": _time(root.not_before),
        "NotAfter": _time(root.not_after),
        "RootCert": root.pem,
        "IntermediateCerts": None,
        "Active": root.active,
        "PrivateKeyType": "ec",
        "PrivateKeyBits": 256,
        "CreateIndex": _second(root.not_before),
        "ModifyIndex": _second(root.not_before),
    }


def _is_due(issued: Certificate) -> bool:
    life = issued.not_after - issued.not_before
    return datetime.now(issued.not_after.tzinfo) > issued.not_before + life * 2 / 3


def _colons(digits: str) -> str:
    text = digits.replace(":", "").lower()
    text = text if len(text) % 2 == 0 else f"0{text}"
    return ":".join(text[at : at + 2] for at in range(0, len(text), 2))


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _second(moment: datetime) -> int:
    return int(moment.timestamp())
