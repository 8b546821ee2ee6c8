"""Whether a call is let in, and by whose word: the conditions of policies, weighed as the data plane weighs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from tulle.compile.explain.match import compare, texts
from tulle.compile.explain.request import Headers, Seen
from tulle.compile.explain.trace import Decision, Step, place, quote
from tulle.model.access import UNUSUAL, Access, AccessPolicy, AccessRule, AllOf, AnyOf, Attribute, Condition, Effect, Is, Not, Noted, Within
from tulle.model.frozen import FrozenMap
from tulle.model.proxy import HttpConnections
from tulle.model.routing import StringMatch

DENIED = "RBAC: access denied"
"""The body of a refusal."""

_TOLD = 5
"""How many rules of a policy are told one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What is known of who calls, and of the connection."""

    principal: str = ""
    """The SPIFFE id in the certificate that was shown and found good; empty without one."""
    source: str = ""
    remote: str = ""
    destination: str = ""
    sni: str = ""
    claims: FrozenMap[str, Any] = FrozenMap()
    """Of a good token."""


NOBODY = Caller()


def forwarded_for(headers: Headers) -> tuple[str, ...]:
    """The addresses that proxies before this one wrote down, the nearest last."""
    values = ",".join(value for name, value in headers if name.lower() == "x-forwarded-for")
    return tuple(part.strip() for part in values.split(",") if part.strip())


def remote_address(peer: str, hops: Sequence[str], serve: HttpConnections) -> str:
    """Whom the call comes from: at the edge as many proxies are believed as are said to stand before it, elsewhere the last one."""
    back = serve.trusted_hops if serve.edge else serve.trusted_hops + 1
    try:
        return str(ip_address(hops[-back])) if 0 < back <= len(hops) else peer
    except ValueError:
        return peer


def before_tokens(access: Access) -> tuple[Access, Access]:
    """The policies that are asked before tokens are looked at, so that those of nobody are known to them; and the others."""
    custom = access.of(Effect.CUSTOM)
    return Access(policies=custom), Access(policies=tuple(p for p in access.policies if p.effect is not Effect.CUSTOM))


def decide(access: Access, caller: Caller, seen: Seen | None) -> tuple[Decision | None, tuple[Step, ...]]:
    """The decision, None where nothing speaks of it, and every policy that was asked. Of a connection there is no request.

    Where a service is to be asked, the others have their say too: its yes is not the last word.
    """
    steps: list[Step] = []
    ask: Decision | None = None
    for policy in access.policies:
        asked = _asked_of(policy, caller, seen)
        rule = next((r for r in asked if _holds(r.operations, caller, seen) and _holds(r.callers, caller, seen)), None)
        steps.append(_step(policy, rule, caller, seen))
        if rule is None or policy.dry_run or policy.effect is Effect.AUDIT:
            continue
        if policy.effect is Effect.CUSTOM and policy.authorizer:
            ask = ask or Decision(by=str(policy.source or policy.name), decision="ask")
            continue
        if policy.effect is Effect.CUSTOM:
            return Decision(by=str(policy.source or policy.name), decision="deny"), tuple(steps)
        decision = Decision(by=str(rule.source or policy.name), decision=policy.effect.value.lower())
        return both(ask, decision), tuple(steps)
    return both(ask, _otherwise(access)), tuple(steps)


def both(ask: Decision | None, then: Decision | None) -> Decision | None:
    """What comes of a service that is asked, and of what is decided after it."""
    return then if ask is None or (then and then.decision == "deny") else ask


def _asked_of(policy: AccessPolicy, caller: Caller, seen: Seen | None) -> tuple[AccessRule, ...]:
    return (*policy.rules, *policy.disguised) if policy.disguised and _holds(UNUSUAL, caller, seen) else policy.rules


def _otherwise(access: Access) -> Decision | None:
    allowing = access.of(Effect.ALLOW)
    if not allowing:
        return Decision(by="no policy that allows is there, so all is allowed", decision="allow") if access else None
    return Decision(by="none of the policies that allow takes it", decision="deny")


def _step(policy: AccessPolicy, rule: AccessRule | None, caller: Caller, seen: Seen | None) -> Step:
    tried = " (dry run: it decides nothing)" if policy.dry_run else ""
    name = f"{policy.source.key.kind}/{policy.source.key.name}" if policy.source else policy.name
    if rule is not None:
        said = rule.source.field.removeprefix("spec.") if rule.source else rule.name
        said += "" if rule in policy.rules else ", as what the path may mean,"
        return Step(
            rule=name, source=place(rule.source or policy.source), matched=True, why=f"{said} takes it: {_WORDS[policy.effect]}{tried}"
        )
    if not policy.rules:
        return Step(rule=name, source=place(policy.source), matched=False, why=f"it has no rule for such calls{tried}")
    whys = [why for r in policy.rules[:_TOLD] if (why := _why_not(r, caller, seen))]
    more = f"; and {len(policy.rules) - _TOLD} more rules" if len(policy.rules) > _TOLD else ""
    return Step(rule=name, source=place(policy.source), matched=False, why="; ".join(whys) + more + tried)


_WORDS = {
    Effect.CUSTOM: "an authorisation service decides",
    Effect.AUDIT: "it is marked in the log",
    Effect.DENY: "refused",
    Effect.ALLOW: "allowed",
}


def _why_not(rule: AccessRule, caller: Caller, seen: Seen | None) -> str:
    """The first condition that does not hold."""
    parts = (*_parts(rule.operations), *_parts(rule.callers))
    lost = next((p for p in parts if not _holds(p, caller, seen)), None)
    return _said(lost, caller, seen) if lost is not None else ""


def _parts(of: Condition) -> tuple[Condition, ...]:
    return of.parts if isinstance(of, AllOf) else (of,)


def _holds(of: Condition, caller: Caller, seen: Seen | None) -> bool:
    match of:
        case AllOf():
            return all(_holds(p, caller, seen) for p in of.parts)
        case AnyOf():
            return any(_holds(p, caller, seen) for p in of.parts)
        case Not():
            return not _holds(of.part, caller, seen)
        case Within():
            return _within(_address(of.attribute, caller), of.network)
        case Noted():
            return False
        case Is():
            return any(_fits(of.match, value) for value in _values(of, caller, seen))


def _fits(match: StringMatch | None, value: str) -> bool:
    """A header that is there counts, even with nothing in it; of all else something must be there."""
    return match is None or compare(match, value)


def _within(address: str, network: str) -> bool:
    if not address:
        return False
    at, net = ip_address(address), ip_network(network, strict=False)
    return at.version == net.version and at in net


def _address(attribute: Attribute, caller: Caller) -> str:
    return {Attribute.SOURCE_IP: caller.source, Attribute.REMOTE_IP: caller.remote, Attribute.DESTINATION_IP: caller.destination}[attribute]


def _values(of: Is, caller: Caller, seen: Seen | None) -> tuple[str, ...]:
    """What of a call a condition looks at."""
    if of.attribute is Attribute.CLAIM:
        return tuple(texts(caller.claims, of.name))
    if of.attribute in (Attribute.PRINCIPAL, Attribute.SNI):
        value = caller.principal if of.attribute is Attribute.PRINCIPAL else caller.sni
        return (value,) if value else ()
    if seen is None:
        return ()
    if of.attribute is Attribute.PATH:
        return (seen.path.partition("?")[0],) if seen.path else ()
    names = {Attribute.METHOD: ":method", Attribute.HOST: ":authority"}
    return seen.values(names.get(of.attribute) or of.name[0])


def _said(of: Condition, caller: Caller, seen: Seen | None) -> str:
    """Why a condition does not hold."""
    if isinstance(of, Not):
        return f"{_found(of.part, caller, seen)}, which it excludes"
    return f"{_found(of, caller, seen)}, it wants {_wanted(of)}"


def _found(of: Condition, caller: Caller, seen: Seen | None) -> str:
    leaf = _leaf(of)
    if leaf is None or isinstance(leaf, Noted):
        return "what it asks for is not there"
    if isinstance(leaf, Within):
        return f"{leaf.attribute.value} is {_address(leaf.attribute, caller) or 'not known'}"
    values = _values(leaf, caller, seen)
    name = " ".join((leaf.attribute.value, ".".join(leaf.name))).strip()
    return f"{name} is {' and '.join(map(quote, values)) if values else 'absent'}"


def _leaf(of: Condition) -> Is | Within | Noted | None:
    if isinstance(of, Not):
        return _leaf(of.part)
    if isinstance(of, AllOf | AnyOf):
        return next((leaf for p in of.parts if (leaf := _leaf(p))), None)
    return of


def _wanted(of: Condition) -> str:
    """Of a long list the first few."""
    match of:
        case AnyOf():
            more = f" or {len(of.parts) - 3} others" if len(of.parts) > 3 else ""
            return (" or ".join(map(_wanted, of.parts[:3])) or "what never is") + more
        case AllOf():
            return " and ".join(map(_wanted, of.parts))
        case Not():
            return f"not {_wanted(of.part)}"
        case Within():
            return of.network
        case Noted() | Is():
            return str(of.match) if of.match else "any"
