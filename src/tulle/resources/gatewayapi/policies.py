"""ReferenceGrant, BackendTLSPolicy and XBackendTrafficPolicy: what is said of other documents' references and backends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from enum import Enum
from typing import Annotated

from pydantic import Field

from tulle.resources.gatewayapi.session import SessionPersistence
from tulle.resources.gatewayapi.types import (
    GatewayDuration,
    Group,
    Hostname,
    KindName,
    LocalReference,
    NamespaceName,
    ObjectName,
    PreciseHostname,
    SectionName,
    items,
    shaped,
    short_text,
)
from tulle.resources.scalars import NO_TEXTS, Map, choice, text_that, whole
from tulle.resources.spec import Problem, Spec

_SECOND, _HOUR = timedelta(seconds=1), timedelta(hours=1)
_URI = re.compile(r"[^:/?#]+://[^/?#]*[^?#]*(\?[^#]*)?(#.*)?")
_AUTHORITIES = re.compile(r"System|[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9][-A-Za-z0-9_.]{0,62}")

WellKnown = Annotated[str, text_that(shaped(_AUTHORITIES, "System, or a name with a domain"))]


class GrantFrom(Spec):
    group: Group
    kind: KindName
    namespace: NamespaceName


class GrantTo(Spec):
    group: Group
    kind: KindName
    name: ObjectName | None = None


class ReferenceGrant(Spec):
    """Lets documents of other namespaces name things of its own namespace."""

    from_: Annotated[tuple[GrantFrom, ...], items(16, 1)]
    to: Annotated[tuple[GrantTo, ...], items(16, 1)]


class PolicyTarget(LocalReference):
    section_name: SectionName | None = None


def target_problems(targets: Sequence[PolicyTarget]) -> Iterator[Problem]:
    """References to one thing must each name another section of it."""
    first: dict[tuple[str, ...], bool] = {}
    seen: set[tuple[str | None, ...]] = set()
    for index, target in enumerate(targets):
        thing = (target.group, target.kind, target.name)
        part = (*thing, target.section_name)
        if first.setdefault(thing, target.section_name is None) != (target.section_name is None):
            yield ("target_refs", index, "section_name"), "must be set in all references to this target, or in none"
        elif part in seen:
            yield ("target_refs", index), "names the same as an earlier one"
        seen.add(part)


class AltNameType(Enum):
    HOSTNAME = "Hostname"
    URI = "URI"


class SubjectAltName(Spec):
    type: Annotated[AltNameType, choice(AltNameType)]
    hostname: Hostname | None = None
    uri: Annotated[str, text_that(shaped(_URI, "an absolute URI"))] | None = None

    def check(self) -> Iterable[Problem]:
        for kind, name in ((AltNameType.HOSTNAME, "hostname"), (AltNameType.URI, "uri")):
            is_set = getattr(self, name) is not None
            if is_set != (self.type is kind):
                yield (name,), f"required where type is {kind.value}" if not is_set else f"must not be set where type is {self.type.value}"


class BackendValidation(Spec):
    """Certificates are checked against these authorities, or against those that the machine trusts."""

    ca_certificate_refs: Annotated[tuple[LocalReference, ...], items(8)] = ()
    well_known_ca_certificates: Annotated[WellKnown | None, Field(alias="wellKnownCACertificates")] = None
    hostname: PreciseHostname
    subject_alt_names: Annotated[tuple[SubjectAltName, ...], items(5)] = ()

    def check(self) -> Iterable[Problem]:
        if bool(self.ca_certificate_refs) == bool(self.well_known_ca_certificates):
            how = "only one" if self.ca_certificate_refs else "one"
            yield (), f"set {how} of caCertificateRefs, wellKnownCACertificates"


class BackendTlsPolicy(Spec):
    """Gateways speak TLS to the services it names, and check their certificates."""

    target_refs: Annotated[tuple[PolicyTarget, ...], items(16, 1)]
    validation: BackendValidation
    options: Map[Annotated[str, short_text(4096)]] = NO_TEXTS

    def check(self) -> Iterable[Problem]:
        return target_problems(self.target_refs)


class RetryBudget(Spec):
    percent: Annotated[int, whole(0, 100)] = 20
    interval: GatewayDuration = timedelta(seconds=10)

    def check(self) -> Iterable[Problem]:
        if not _SECOND <= self.interval <= _HOUR:
            yield ("interval",), "must be from one second to one hour"


class RetryRate(Spec):
    count: Annotated[int, whole(1, 1_000_000)] = 10
    interval: GatewayDuration = _SECOND

    def check(self) -> Iterable[Problem]:
        if not timedelta() < self.interval <= _HOUR:
            yield ("interval",), "must be more than zero and at most one hour"


class RetryConstraint(Spec):
    budget: RetryBudget = RetryBudget.unsaid()
    min_retry_rate: RetryRate = RetryRate.unsaid()


class BackendTrafficPolicy(Spec):
    target_refs: Annotated[tuple[LocalReference, ...], items(16, 1)]
    """Whole services, not single ports of them."""
    retry_constraint: RetryConstraint | None = None
    session_persistence: SessionPersistence | None = None

    def check(self) -> Iterable[Problem]:
        things = [(target.group, target.kind, target.name) for target in self.target_refs]
        for index, thing in enumerate(things):
            if thing in things[:index]:
                yield ("target_refs", index), "names the same as an earlier one"
