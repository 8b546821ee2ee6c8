"""AuthorizationPolicies as conditions (BEHAVIOURS 19).

Three things are safer than in Istio. A port and a final dot behind a host count for nothing: `bank.example:8080` and `bank.example.`
reach the same server as `bank.example`, so a rule about one is a rule about all. A rule that refuses, or asks somebody, does so
however paths, hosts, methods and names of headers are written (disguises). And a port is the one that callers dial or the one on which
the workload listens: they differ where a sidecar listens on a port of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from tulle.compile.disguises import (
    CLIMBING,
    alike,
    allowed_host,
    any_case,
    leaves_room,
    plain_path,
    refused_host,
    refused_paths,
    text,
    usual_paths,
)
from tulle.model.access import (
    ALWAYS,
    NEVER,
    AccessPolicy,
    AccessRule,
    AllOf,
    AnyOf,
    Attribute,
    Authorizer,
    Condition,
    Effect,
    Is,
    Not,
    Noted,
    Within,
)
from tulle.model.resource import Resource
from tulle.model.routing import Compare, StringMatch
from tulle.resources.security.authorization_policy import AuthorizationPolicy, Operation, Origin, Rule
from tulle.resources.security.authorization_policy import Condition as When

DRY_RUN = "istio.io/dry-run"

_OF_OPERATIONS = ("destination.", "connection.")
_NAMED = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where calls arrive for which policies are made."""

    ports: frozenset[int]
    """By which its callers and its workload know it."""
    trust_domains: tuple[str, ...] = ("cluster.local",)
    """Of the mesh: the present name first, then those from before."""
    requests: bool = True
    """Else whole connections, of which less can be told."""


class _NotOfConnections(Exception):  # noqa: N818
    """A rule asks for what only requests have."""


def access_policy(resource: Resource[AuthorizationPolicy], door: Door, authorizer: Authorizer | None = None) -> AccessPolicy:
    """What a document says of the calls at a door, whomever it is for.

    Rules that can take none of them are left out. Of connections, rules that ask for what only requests have refuse more, never less:
    one that allows is left out, and in one that denies those conditions hold.
    """
    key, effect = resource.key, Effect[resource.spec.action.value]
    name = f"ns[{key.namespace}]-policy[{key.name}]"
    maker = _Maker(namespace=key.namespace, door=door, refuses=effect is not Effect.ALLOW, widens=effect is Effect.DENY)
    rules, disguised = list[AccessRule](), list[AccessRule]()
    for i, rule in enumerate(resource.spec.rules):
        try:
            callers, operations = maker.rule(rule)
        except _NotOfConnections:
            continue
        if NEVER in (callers, operations):
            continue
        source = resource.at(f"spec.rules[{i}]")
        rules.append(AccessRule(name=f"{name}-rule[{i}]", callers=callers, operations=operations, source=source))
        if maker.refuses and door.requests and any(item.operation.paths for item in rule.to):
            callers, operations = replace(maker, disguised=True).rule(rule)
            disguised.append(replace(rules[-1], callers=callers, operations=operations))
    # Who asks a service has asked it: there is no trying it out.
    dry_run = resource.annotations.get(DRY_RUN, "").lower() == "true" and effect is not Effect.CUSTOM
    return AccessPolicy(
        name=name,
        effect=effect,
        rules=tuple(rules),
        disguised=tuple(disguised),
        dry_run=dry_run,
        authorizer=authorizer,
        source=resource.at("spec"),
    )


def confined(policy: AccessPolicy, hosts: Iterable[str], *, requests: bool) -> AccessPolicy:
    """The same policy, for calls of these hosts alone. Where it allows some, it takes no say in calls of others: those are let through."""
    attribute, look = (Attribute.HOST, allowed_host) if requests else (Attribute.SNI, text)
    meant = any_of(Is(attribute=attribute, match=look(host)) if host != "*" else ALWAYS for host in sorted(hosts))
    rules, disguised = (
        tuple(replace(rule, operations=all_of((meant, rule.operations))) for rule in some) for some in (policy.rules, policy.disguised)
    )
    if policy.effect is Effect.ALLOW and meant != ALWAYS:
        rules += (AccessRule(name=f"{policy.name}-others", operations=none_of(meant), source=policy.source),)
    return replace(policy, rules=rules, disguised=disguised)


def all_of(parts: Iterable[Condition]) -> Condition:
    """Without what always holds, and without nesting, which costs the data plane time; never, where one part never does."""
    kept = tuple(single for p in parts for single in (p.parts if isinstance(p, AllOf) else (p,)))
    if NEVER in kept:
        return NEVER
    return kept[0] if len(kept) == 1 else AllOf(parts=kept)


def any_of(parts: Iterable[Condition]) -> Condition:
    kept = tuple(p for p in parts if p != NEVER)
    if ALWAYS in kept:
        return ALWAYS
    return kept[0] if len(kept) == 1 else AnyOf(parts=kept)


def none_of(part: Condition) -> Condition:
    return NEVER if part == ALWAYS else ALWAYS if part == NEVER else Not(part=part)


def hosts(values: Iterable[str], every_spelling: bool) -> Condition:
    look = refused_host if every_spelling else allowed_host
    return any_of(Is(attribute=Attribute.HOST, match=look(v)) for v in values)


def methods(values: Iterable[str], every_spelling: bool) -> Condition:
    """Programs are known to take `delete` for `DELETE`."""
    found = map(text, values)
    return any_of(Is(attribute=Attribute.METHOD, match=any_case(match) if every_spelling else match) for match in found)


def plain_paths(values: tuple[str, ...]) -> Condition:
    """A path that climbs out of where it seems to lie is not one of them, however it begins or ends."""
    found = any_of(Is(attribute=Attribute.PATH, match=plain_path(v)) for v in values)
    return all_of((found, none_of(CLIMBING))) if any(map(leaves_room, values)) else found


def headers(name: str, values: Iterable[str], every_spelling: bool) -> Condition:
    names = alike(name) if every_spelling else (name,)
    return any_of(Is(attribute=Attribute.HEADER, name=(n,), match=text(v)) for n in names for v in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maker:
    """Conditions for one policy at one door."""

    namespace: str
    door: Door
    refuses: bool
    """Its rules hold calls up, so what they are about is meant in every spelling. Else in the plain one alone; of what they exclude, the
    other way round."""
    widens: bool
    """Of connections, what it asks of requests holds."""
    disguised: bool = False
    """Paths are looked for in every spelling, which costs more."""

    def rule(self, rule: Rule) -> tuple[Condition, Condition]:
        """What it says of callers, and of what they ask for."""
        callers = any_of(self._callers(item.source) for item in rule.from_) if rule.from_ else ALWAYS
        operations = any_of(self._operations(item.operation) for item in rule.to) if rule.to else ALWAYS
        asked = [item for item in rule.when if item.key.startswith(_OF_OPERATIONS)]
        others = [item for item in rule.when if item not in asked]
        return all_of((callers, *map(self._when, others))), all_of((operations, *map(self._when, asked)))

    def _callers(self, of: Origin) -> Condition:
        return all_of(
            (
                *self._field(of.principals, of.not_principals, self._principal),
                *self._field(of.namespaces, of.not_namespaces, _namespace),
                *self._field(of.service_accounts, of.not_service_accounts, self._account),
                *self._field(of.trust_domains, of.not_trust_domains, _trust_domain),
                *self._field(of.ip_blocks, of.not_ip_blocks, lambda v: Within(attribute=Attribute.SOURCE_IP, network=v)),
                *self._field(of.remote_ip_blocks, of.not_remote_ip_blocks, lambda v: Within(attribute=Attribute.REMOTE_IP, network=v)),
                *self._of_requests(of.request_principals, of.not_request_principals, _request_principal),
            )
        )

    def _operations(self, of: Operation) -> Condition:
        """Paths first: most rules are told apart by them, and the data plane asks no further once one does not fit."""
        return all_of(
            (
                *self._spelled(of.paths, of.not_paths, self._paths),
                *self._spelled(of.methods, of.not_methods, methods),
                *self._spelled(of.hosts, of.not_hosts, hosts),
                *self._field(of.ports, of.not_ports, self._port),
            )
        )

    def _paths(self, values: tuple[str, ...], every_spelling: bool) -> Condition:
        """Of what an ALLOW excludes every spelling is looked for at once."""
        if not every_spelling:
            return plain_paths(values)
        return any_of(refused_paths(values) if self.disguised or not self.refuses else usual_paths(values))

    def _when(self, of: When) -> Condition:
        if of.key.startswith("request.headers["):
            (name,) = _NAMED.findall(of.key)
            return all_of(self._spelled(of.values, of.not_values, partial(headers, name.lower())))
        make, of_requests = self._attribute(of.key)
        field = self._of_requests if of_requests else self._field
        return all_of(field(of.values, of.not_values, make))

    def _field(self, values: tuple[str, ...], unwanted: tuple[str, ...], make: Callable[[str], Condition]) -> Iterator[Condition]:
        if values:
            yield any_of(map(make, values))
        if unwanted:
            yield none_of(any_of(map(make, unwanted)))

    def _of_requests(self, values: tuple[str, ...], unwanted: tuple[str, ...], make: Callable[[str], Condition]) -> Iterator[Condition]:
        if self.door.requests:
            yield from self._field(values, unwanted, make)
        elif (values or unwanted) and not self.widens:
            raise _NotOfConnections

    def _spelled(
        self, values: tuple[str, ...], unwanted: tuple[str, ...], make: Callable[[tuple[str, ...], bool], Condition]
    ) -> Iterator[Condition]:
        """`make` is told whether every spelling is meant."""
        if not self.door.requests:
            if (values or unwanted) and not self.widens:
                raise _NotOfConnections
            return
        if values:
            yield make(values, self.refuses)
        if unwanted:
            yield none_of(make(unwanted, not self.refuses))

    def _attribute(self, key: str) -> tuple[Callable[[str], Condition], bool]:
        """How a value of an attribute is looked for, and whether only requests have it."""
        if key in self._plain():
            return self._plain()[key], False
        if key in _OF_TOKENS:
            return _OF_TOKENS[key], True
        names = tuple(_NAMED.findall(key))
        if key.startswith("request.auth.claims["):
            return lambda v: _claim(names, text(v)), True
        filter_ = key.removeprefix("experimental.").partition("[")[0]
        return lambda v: Noted(filter=filter_, path=names, match=text(v.removeprefix("[").removesuffix("]"))), False

    def _plain(self) -> dict[str, Callable[[str], Condition]]:
        return {
            "source.ip": lambda v: Within(attribute=Attribute.SOURCE_IP, network=v),
            "remote.ip": lambda v: Within(attribute=Attribute.REMOTE_IP, network=v),
            "destination.ip": lambda v: Within(attribute=Attribute.DESTINATION_IP, network=v),
            "destination.port": self._port,
            "source.namespace": _namespace,
            "source.principal": self._principal,
            "source.serviceAccount": self._account,
            "source.trustDomain": _trust_domain,
            "connection.sni": lambda v: Is(attribute=Attribute.SNI, match=text(v)),
        }

    def _port(self, value: str) -> Condition:
        return ALWAYS if int(value) in self.door.ports else NEVER

    def _principal(self, value: str) -> Condition:
        """Each name of the mesh's own trust domain stands for all of them, and so does `cluster.local`, whatever they are."""
        home, slash, rest = value.partition("/")
        if slash and home in (*self.door.trust_domains, "cluster.local"):
            return any_of(_spiffe(f"{domain}/{rest}") for domain in self.door.trust_domains)
        return _spiffe(value)

    def _account(self, value: str) -> Condition:
        namespace, _, account = value.rpartition("/")
        return _principal_like(f".*/ns/{re.escape(namespace or self.namespace)}/sa/{re.escape(account)}")


def _within(value: str) -> str:
    """The same, as part of a regular expression."""
    return ".*".join(re.escape(part) for part in value.split("*"))


def _regex(pattern: str) -> StringMatch:
    return StringMatch(compare=Compare.REGEX, value=pattern)


def _spiffe(value: str) -> Condition:
    match = text(value)
    if match is not None and match.compare is not Compare.SUFFIX:
        match = StringMatch(compare=match.compare, value=f"spiffe://{match.value}")
    return Is(attribute=Attribute.PRINCIPAL, match=match)


def _principal_like(pattern: str) -> Condition:
    return Is(attribute=Attribute.PRINCIPAL, match=_regex(pattern))


def _namespace(value: str) -> Condition:
    return _principal_like(f".*/ns/{_within(value)}/.*")


def _trust_domain(value: str) -> Condition:
    return _principal_like(f"spiffe://{_within(value)}/.*")


def _claim(path: tuple[str, ...], match: StringMatch | None) -> Condition:
    return Is(attribute=Attribute.CLAIM, name=path, match=match)


def _request_principal(value: str) -> Condition:
    """`issuer/subject` in the token's `iss` and `sub`; of one half with a `*`, the other may be anything.

    A subject has no slash, unless it is a SPIFFE ID.
    """
    issuer, slash, subject = value.rpartition("/spiffe://")
    issuer, slash, subject = (issuer, slash, f"spiffe://{subject}") if slash else value.rpartition("/")
    if not slash:
        issuer, subject = (value, "*") if value.endswith("*") and value != "*" else ("*", value)
    return all_of((_claim(("iss",), text(issuer)), _claim(("sub",), text(subject))))


_OF_TOKENS: dict[str, Callable[[str], Condition]] = {
    "request.auth.principal": _request_principal,
    "request.auth.audiences": lambda v: _claim(("aud",), text(v)),
    "request.auth.presenter": lambda v: _claim(("azp",), text(v)),
}
