"""RequestAuthentications as what is asked of requests (BEHAVIOURS 20): those of the root namespace and of a workload's own add up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tulle.compile.attachment import by_namespace, is_for, takes
from tulle.compile.disguises import allowed_host
from tulle.model.identity import Labels
from tulle.model.resource import Key, Resource
from tulle.model.tokens import Issuer, Tokens
from tulle.resources.security.request_authentication import JwtRule, Presence, RequestAuthentication

Authentication = Resource[RequestAuthentication]
KeySets = Mapping[str, str]
"""By the URI that they were fetched from: public keys as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The mesh's own authority for tokens, of which nobody needs to ask for its keys."""

    issuer: str = ""
    keys: str | None = None

    def signs(self, rule: JwtRule) -> bool:
        """Whether a rule is about its tokens, and leaves the keys to us."""
        return rule.issuer == self.issuer and rule.jwks is None and not rule.jwks_uri


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Authentications:
    """All of the mesh, by namespace, each list from the oldest."""

    root_namespace: str = ""
    by_namespace: Mapping[str, tuple[Authentication, ...]] = field(default_factory=dict)
    key_sets: KeySets | None = None
    own: Own = Own()
    unfetched: Mapping[str, str] = field(default_factory=dict)
    """By URI, why keys could not be fetched."""
    key_uris: Mapping[str, float] = field(default_factory=dict)
    """The URIs of all key sets that are to be fetched, each with the seconds that it may take."""

    def at(self, namespace: str, labels: Labels, service: str = "") -> tuple[Tokens, ...]:
        """What is asked of requests to a workload of a service, or to what a proxy serves for all Gateways alike."""
        found = (r for r in self._in(self.root_namespace, namespace) if takes(r, namespace, labels, service))
        issuers = tuple(i for r in found for i in self._issuers(r))
        return (Tokens(issuers=issuers),) if issuers else ()

    def at_edge(self, namespace: str, labels: Labels, served: Mapping[Key, frozenset[str]]) -> tuple[Tokens, ...]:
        """The same for a port that serves the hosts of some Gateways: what names one of them is asked for its hosts alone."""
        everywhere = self.at(namespace, labels)
        made: list[Tokens] = []
        for gateway, hosts in served.items():
            own = tuple(i for r in self._in(gateway.namespace) if is_for(r, gateway) for i in self._issuers(r))
            if own:
                known = tuple(i for tokens in everywhere for i in tokens.issuers)
                some = len(served) > 1 and "*" not in hosts
                made.append(Tokens(issuers=(*known, *own), hosts=tuple(filter(None, map(allowed_host, sorted(hosts)))) if some else ()))
        return (*sorted(made, key=lambda t: not t.hosts), *everywhere)

    def _in(self, *namespaces: str) -> Iterator[Authentication]:
        for namespace in dict.fromkeys(namespaces):
            yield from self.by_namespace.get(namespace, ())

    def _issuers(self, of: Authentication) -> Iterator[Issuer]:
        for index, rule in enumerate(of.spec.jwt_rules):
            yield self._issuer(f"{of.key.namespace}/{of.key.name}/{index}", rule, of, index)

    def _issuer(self, name: str, rule: JwtRule, of: Authentication, index: int) -> Issuer:
        return Issuer(
            name=name,
            issuer=rule.issuer,
            audiences=rule.audiences,
            keys=self._keys(rule),
            headers=tuple((h.name, h.prefix) for h in rule.from_headers),
            parameters=rule.from_params,
            cookies=rule.from_cookies,
            forward=rule.forward_original_token,
            payload_header=rule.output_payload_to_header or "",
            claim_headers=tuple((c.header, c.claim) for c in rule.output_claim_to_headers),
            split_claims=rule.space_delimited_claims,
            required=rule.presence is Presence.REQUIRED,
            source=of.at(f"spec.jwtRules[{index}]"),
        )

    def _keys(self, rule: JwtRule) -> str | None:
        if self.own.signs(rule):
            return self.own.keys
        if rule.jwks is not None:
            return None if _is_empty(rule.jwks) else rule.jwks
        return (self.key_sets or {}).get(key_uri(rule) or "")


NO_AUTHENTICATIONS = Authentications()


def authentications(
    documents: Iterable[Authentication], root_namespace: str, key_sets: KeySets | None, own: Own, unfetched: Mapping[str, str]
) -> Authentications:
    """The RequestAuthentications of a mesh, which come from the oldest."""
    every = tuple(documents)
    asked = (rule for document in every for rule in document.spec.jwt_rules if not own.signs(rule))
    return Authentications(
        root_namespace=root_namespace,
        by_namespace=by_namespace(every),
        key_sets=key_sets,
        own=own,
        unfetched=unfetched,
        key_uris={uri: rule.timeout.total_seconds() for rule in asked if (uri := key_uri(rule))},
    )


def without_keys(of: Authentications, document: Authentication) -> Iterator[tuple[str, str]]:
    """The issuers of a document whose tokens cannot be judged: field and reason."""
    for index, rule in enumerate(document.spec.jwt_rules):
        uri, field_ = key_uri(rule), f"spec.jwtRules[{index}]"
        if of.own.signs(rule):
            continue
        if uri is None and rule.jwks is None:
            yield field_, "has neither jwks nor jwksUri, and the issuer is no URL where keys could be looked up: its tokens are refused"
        elif rule.jwks is not None and _is_empty(rule.jwks):
            yield f"{field_}.jwks", "holds no keys: the issuer's tokens are refused"
        elif uri is not None and of.key_sets is not None and uri not in of.key_sets:
            why = of.unfetched.get(uri, "they were not asked for yet")
            yield field_, f"the keys at {uri} could not be fetched yet ({why}): its tokens are refused"


def key_uri(rule: JwtRule) -> str | None:
    """Where the keys of an issuer are to be had: as told, else as OpenID Connect Discovery 1.0 (section 4) has it. None: nowhere."""
    if rule.jwks is not None or rule.jwks_uri:
        return rule.jwks_uri
    return f"{rule.issuer.rstrip('/')}/.well-known/openid-configuration" if rule.issuer.startswith(("http://", "https://")) else None


def _is_empty(jwks: str) -> bool:
    """Envoy would refuse such a set, and with it the whole listener."""
    return not json.loads(jwks)["keys"]
