"""GatewayClass, Gateway and ListenerSet: what is served, on which ports, and for whose routes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated

from pydantic import AfterValidator

from tulle.model.frozen import FrozenMap
from tulle.resources.gatewayapi.listeners import Listeners, RouteFrom, listener_problems
from tulle.resources.gatewayapi.types import (
    DomainPath,
    LabelSelector,
    LocalReference,
    ObjectName,
    ObjectReference,
    ParentReference,
    SecretReference,
    hostname,
    items,
    shaped,
    short_text,
)
from tulle.resources.names import LabelMap, is_ip, label_key
from tulle.resources.networking.common import taken
from tulle.resources.scalars import NO_TEXTS, Port, Text, choice, text_that
from tulle.resources.spec import Problem, Spec, problem_error, shown


class GatewayClass(Spec):
    controller_name: DomainPath
    parameters_ref: ObjectReference | None = None
    description: Annotated[str, short_text(64)] | None = None


_ADDRESS_TYPE = re.compile(r"Hostname|IPAddress|NamedAddress|[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")


class GatewayAddress(Spec):
    type: Annotated[str, text_that(shaped(_ADDRESS_TYPE, "IPAddress, Hostname, NamedAddress or a name with a domain"))] = "IPAddress"
    value: Annotated[str, short_text(253)] | None = None

    def check(self) -> Iterable[Problem]:
        if self.value and self.type == "Hostname" and (complaint := hostname(self.value)):
            yield ("value",), complaint
        if self.value and self.type == "IPAddress" and not is_ip(self.value):
            yield ("value",), f"must be an IP address, not {shown(self.value)}"


def _check_annotations(values: Mapping[str, str]) -> Mapping[str, str]:
    problems: list[Problem] = [((key,), complaint) for key in values if (complaint := label_key(key))]
    problems += [((key,), "must be at most 4096 characters long") for key, value in values.items() if len(value) > 4096]
    if len(values) > 16:
        problems.append(((), "must have at most 16 items"))
    if problems:
        raise problem_error(problems)
    return FrozenMap(values)


class Infrastructure(Spec):
    """What Kubernetes is to create for the Gateway. Plain machines have no use for it."""

    labels: LabelMap = NO_TEXTS
    annotations: Annotated[Mapping[Text, Text], AfterValidator(_check_annotations)] = NO_TEXTS
    parameters_ref: LocalReference | None = None

    def check(self) -> Iterable[Problem]:
        if len(self.labels) > 8:
            yield ("labels",), "must have at most 8 items"


class ListenerNamespaces(Spec):
    from_: Annotated[RouteFrom, choice(RouteFrom)] = RouteFrom.NONE
    selector: LabelSelector | None = None

    def check(self) -> Iterable[Problem]:
        if self.from_ is RouteFrom.SELECTOR and self.selector is None:
            yield ("selector",), "required where from is Selector"


class AllowedListeners(Spec):
    namespaces: ListenerNamespaces = ListenerNamespaces.unsaid()


class ValidationMode(Enum):
    ALLOW_VALID_ONLY = "AllowValidOnly"
    ALLOW_INSECURE_FALLBACK = "AllowInsecureFallback"


class FrontendValidation(Spec):
    """Which certificates callers must show."""

    ca_certificate_refs: Annotated[tuple[ObjectReference, ...], items(16, 1)]
    mode: Annotated[ValidationMode, choice(ValidationMode)] = ValidationMode.ALLOW_VALID_ONLY


class FrontendTls(Spec):
    validation: FrontendValidation | None = None


class PortTls(Spec):
    port: Port
    tls: FrontendTls


class Frontend(Spec):
    default: FrontendTls
    per_port: Annotated[tuple[PortTls, ...], items(64)] = ()

    def check(self) -> Iterable[Problem]:
        return taken("per_port", "port", (one.port for one in self.per_port))

    def at(self, port: int) -> FrontendValidation | None:
        """What holds for callers of a port."""
        own = next((one.tls for one in self.per_port if one.port == port), self.default)
        return own.validation


class BackendClient(Spec):
    client_certificate_ref: SecretReference | None = None


class GatewayTls(Spec):
    frontend: Frontend | None = None
    backend: BackendClient | None = None


class Gateway(Spec):
    gateway_class_name: ObjectName
    listeners: Listeners
    addresses: Annotated[tuple[GatewayAddress, ...], items(16)] = ()
    infrastructure: Infrastructure | None = None
    allowed_listeners: AllowedListeners | None = None
    tls: GatewayTls | None = None

    def check(self) -> Iterable[Problem]:
        yield from listener_problems(self.listeners)
        given = [(address.type, address.value) if address.value else None for address in self.addresses]
        for (_, index, _), what in taken("addresses", "value", given):
            yield ("addresses", index), what


class ListenerSet(Spec):
    """Listeners of someone else's, added to a Gateway that allows it."""

    parent_ref: ParentReference
    listeners: Listeners

    def check(self) -> Iterable[Problem]:
        if self.parent_ref.section_name or self.parent_ref.port:
            yield ("parent_ref",), "must name a whole Gateway"
        yield from listener_problems(self.listeners)
