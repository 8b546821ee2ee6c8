"""Registrations as JSON.

    {"service": "reviews", "namespace": "default", "address": "127.0.0.1",
     "ports": [{"number": 9080, "target": 31412, "name": "http", "protocol": "HTTP"}],
     "labels": {"version": "v1"}, "serviceAccount": "default", "locality": "region/zone/subzone",
     "weight": 1, "health": "passing", "proxy": "sidecar~reviews-1", "node": "", "meta": {}}

Only `service` must be given. `number` is the port that callers dial, `target` (the same, unless given) where the instance's sidecar
listens at `address`. `proxy` is the id of that sidecar. `node` is the machine, the control plane's own where none is said. `id` may be
repeated; it is part of the address of the request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from tulle.model.frozen import FrozenMap
from tulle.model.identity import NO_LABELS, Locality
from tulle.model.service import Health, Protocol, RegisteredPort, Registration, port_key

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ID = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.:~/@]{0,252}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """What is wrong in a body, and in which field of it (empty for the whole)."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class RegistrationError(ValueError):
    """A body that is no registration."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(str(mistake) for mistake in self.mistakes))


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("must be 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit")
    return text


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None


def _protocol(given: object) -> object:
    """Names are taken in any case (`http`, `gRPC`)."""
    names = {protocol.value.lower(): protocol.value for protocol in Protocol}
    return names.get(given.lower(), given) if isinstance(given, str) else given


Name = Annotated[str, AfterValidator(_name)]
PortNumber = Annotated[int, Field(ge=1, le=65535, strict=True)]
Words = dict[Annotated[str, Field(min_length=1, max_length=253)], Annotated[str, Field(max_length=1024)]]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, alias_generator=to_camel, populate_by_name=True)


class _Port(_Form):
    number: PortNumber
    target: PortNumber | None = None
    name: Annotated[str, Field(max_length=63)] = ""
    protocol: Annotated[Protocol, BeforeValidator(_protocol)] = Protocol.HTTP


class _Registration(_Form):
    id: str | None = None
    service: Name
    namespace: Name = "default"
    address: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    ports: Annotated[tuple[_Port, ...], Field(max_length=256)] = ()
    labels: Words = Field(default_factory=dict)
    service_account: Name = "default"
    locality: Annotated[str, Field(max_length=200)] = ""
    weight: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] = 1
    health: Health = Health.PASSING
    proxy: Annotated[str, Field(max_length=300)] = ""
    node: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    meta: Words = Field(default_factory=dict)


def check_id(identifier: str) -> None:
    """Raises RegistrationError."""
    if not _ID.fullmatch(identifier):
        message = f"{identifier[:60]!r} cannot be an id: 1 to 253 of letters, digits and - _ . : ~ / @, starting with a letter or digit"
        raise RegistrationError([Mistake(field="id", message=message)])


def parse(identifier: str, body: bytes) -> Registration:
    """Reads a request's body. Raises RegistrationError with all mistakes at once."""
    check_id(identifier)
    try:
        form = _Registration.model_validate_json(body)
    except ValidationError as error:
        raise RegistrationError(_mistakes(error)) from None
    mistakes = list(_checks(form, identifier))
    if mistakes:
        raise RegistrationError(mistakes)
    return _registration(identifier, form)


def _mistakes(error: ValidationError) -> Iterable[Mistake]:
    for item in error.errors(include_url=False, include_input=False):
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(".")
        message = {"extra_forbidden": "unknown field", "missing": "required"}.get(item["type"], item["msg"].removeprefix("Value error, "))
        yield Mistake(field=field, message=message)


def _checks(form: _Registration, identifier: str) -> Iterable[Mistake]:
    if form.id not in (None, identifier):
        yield Mistake(field="id", message=f"{form.id!r} is not the id that the request names, {identifier!r}")
    names = [port.name for port in form.ports if port.name]
    numbers = [port_key(port.number, udp=port.protocol is Protocol.UDP) for port in form.ports]
    twice = [f"number {p.number}" for n, p in zip(numbers, form.ports, strict=True) if numbers.count(n) > 1]
    twice += [f"name {name}" for name in sorted(names) if names.count(name) > 1]
    for what in dict.fromkeys(twice):
        yield Mistake(field="ports", message=f"{what} is given twice")


def _registration(identifier: str, form: _Registration) -> Registration:
    ports = (RegisteredPort(number=p.number, target=p.target or p.number, name=p.name, protocol=p.protocol) for p in form.ports)
    return Registration(
        id=identifier,
        service=form.service,
        namespace=form.namespace,
        address=form.address,
        ports=tuple(ports),
        labels=FrozenMap(form.labels) if form.labels else NO_LABELS,
        service_account=form.service_account,
        locality=Locality.parse(form.locality),
        weight=form.weight,
        health=form.health,
        proxy=form.proxy,
        node=form.node,
        meta=FrozenMap(form.meta),
    )


def to_json(registration: Registration) -> Mapping[str, Any]:
    """The full form. Equal registrations give equal text, as keys are in a fixed order."""
    r = registration
    return {
        "id": r.id,
        "service": r.service,
        "namespace": r.namespace,
        "address": r.address,
        "ports": [{"number": p.number, "target": p.target, "name": p.name, "protocol": p.protocol.value} for p in r.ports],
        "labels": dict(sorted(r.labels.items())),
        "serviceAccount": r.service_account,
        "locality": str(r.locality),
        "weight": r.weight,
        "health": r.health.value,
        "proxy": r.proxy,
        "node": r.node,
        "meta": dict(sorted(r.meta.items())),
    }


def dump(registration: Registration) -> bytes:
    return json.dumps(to_json(registration), separators=(",", ":")).encode()
