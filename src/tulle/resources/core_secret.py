"""Kubernetes' core `v1/Secret`: certificates and keys for proxies. Nothing in it is ever shown again, but the names of its entries."""

from __future__ import annotations

import base64
import binascii
import difflib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, PlainSerializer, PlainValidator

from tulle.model.frozen import FrozenMap
from tulle.model.resource import Resource, Violation
from tulle.model.tls import Hidden
from tulle.resources import certificates
from tulle.resources.scalars import Flag, Text
from tulle.resources.spec import Problem, Spec, problem_error

FIELDS = ("type", "data", "stringData", "immutable")
"""A Secret has no `spec`: these stand at the top of the document."""
HIDDEN = "(hidden)"
"""What is shown of an entry."""
TLS_TYPE = "kubernetes.io/tls"
_RESERVED = ("kubernetes.io/", "bootstrap.kubernetes.io/")
_OWN = ("service-account-token", "dockercfg", "dockerconfigjson", "basic-auth", "ssh-auth", "tls")
_TYPES = (*(f"kubernetes.io/{name}" for name in _OWN), "bootstrap.kubernetes.io/token")
CHAIN, KEY, ROOTS, REVOKED = ("tls.crt", "cert"), ("tls.key", "key"), ("ca.crt", "cacert"), ("ca.crl", "crl")
"""The names under which Istio looks for each part, from the first that it takes."""

Entries = Mapping[str, Hidden]


def _entries(value: object, decode: Any) -> FrozenMap[str, Hidden]:
    """No message has anything of the value in it, and neither has an exception of pydantic's own."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("must be a mapping with texts as names")
    problems: list[Problem] = []
    found: dict[str, Hidden] = {}
    for key, text in value.items():
        try:
            found[key] = Hidden(decode(text))
        except ValueError as error:
            problems.append(((key,), str(error)))
    if problems:
        raise problem_error(problems)
    return FrozenMap(found)


def _decoded(text: object) -> bytes:
    if text is None:
        return b""
    if text == HIDDEN:
        raise ValueError('"(hidden)" is what is shown of a secret, not its value: apply the original')
    if not isinstance(text, str):
        raise ValueError("must be text, in base64")  # noqa: TRY004 - what validators raise
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64; what is not encoded goes under stringData") from None


def _plain(text: object) -> bytes:
    if text == HIDDEN:
        raise ValueError('"(hidden)" is what is shown of a secret, not its value: apply the original')
    if not isinstance(text, str):
        raise ValueError("must be text")  # noqa: TRY004 - what validators raise
    return text.encode()


def _shown(value: Entries) -> dict[str, str]:
    return dict.fromkeys(value, HIDDEN)


_NONE: Entries = FrozenMap()
_Data = Annotated[Entries, PlainValidator(lambda v: _entries(v, _decoded)), PlainSerializer(_shown)]
_StringData = Annotated[Entries, PlainValidator(lambda v: _entries(v, _plain)), PlainSerializer(_shown)]


class Secret(Spec):
    """`data` in base64 or `string_data` as text, which wins. For TLS see CHAIN, KEY, ROOTS and REVOKED."""

    model_config = ConfigDict(hide_input_in_errors=True, arbitrary_types_allowed=True)
    synonyms: ClassVar[Mapping[str, str]] = {}

    type: Text = "Opaque"
    data: _Data = _NONE
    string_data: _StringData = _NONE
    immutable: Flag = False

    def check(self) -> Iterable[Problem]:
        yield from self._type_problems()
        chain, key = self._place(CHAIN), self._place(KEY)
        halves = {place[1] for place in (chain, key) if place} & {CHAIN[0], KEY[0]}
        for place, names, other in ((chain, CHAIN, KEY), (key, KEY, CHAIN)):
            if place is None and self.type == TLS_TYPE:
                yield ("data", names[0]), f"required where type is {TLS_TYPE}"
            elif place is None and halves:
                yield ("data", names[0]), f"required beside {other[0]}: one is of no use without the other"
        if chain and key:
            places = {"chain": chain, "key": key}
            found = certificates.pair_problems(self._bytes(chain), self._bytes(key))
            yield from ((places[which], what) for which, what in found)
        yield from self._authority_problems()

    def _type_problems(self) -> Iterator[Problem]:
        """Kubernetes keeps these names for itself, so one that it does not have is a slip of the pen."""
        if self.type.startswith(_RESERVED) and self.type not in _TYPES:
            near = difflib.get_close_matches(self.type, _TYPES, n=1)
            yield ("type",), f"Kubernetes has no type {self.type}" + (f'; did you mean "{near[0]}"?' if near else "")

    def _authority_problems(self) -> Iterator[Problem]:
        if place := self._place(ROOTS):
            try:
                certificates.parse(self._bytes(place))
            except ValueError as error:
                yield place, str(error)

    def _place(self, names: Iterable[str]) -> tuple[str, str] | None:
        for name in names:
            for field, entries in (("string_data", self.string_data), ("data", self.data)):
                if entries.get(name):
                    return field, name
        return None

    def _bytes(self, place: tuple[str, str]) -> bytes:
        entries: Entries = getattr(self, place[0])
        return entries[place[1]].reveal()

    def _part(self, names: Iterable[str]) -> Hidden | None:
        place = self._place(names)
        return Hidden(self._bytes(place)) if place else None

    @property
    def entries(self) -> Entries:
        """All that stands in it, by name."""
        return FrozenMap({**self.data, **self.string_data})

    @property
    def chain(self) -> Hidden | None:
        """The certificate, with those that lead from it to its authority."""
        return self._part(CHAIN)

    @property
    def key(self) -> Hidden | None:
        return self._part(KEY)

    @property
    def roots(self) -> Hidden | None:
        """Certificates of authorities."""
        return self._part(ROOTS)

    @property
    def revoked(self) -> Hidden | None:
        return self._part(REVOKED)

    def shown(self) -> dict[str, Any]:
        """The fields of the document, without what is in them."""
        names = sorted({*self.data, *self.string_data})
        rest = {"immutable": True} if self.immutable else {}
        return {"type": self.type, "data": dict.fromkeys(names, HIDDEN), **rest}

    def revealed(self) -> dict[str, Any]:
        """The fields of the document, for the store alone."""
        everything = {**self.data, **self.string_data}
        encoded = {name: base64.b64encode(value.reveal()).decode() for name, value in sorted(everything.items())}
        return self.shown() | {"data": encoded}


def age_warnings(resource: Resource[Any], now: datetime) -> tuple[Violation, ...]:
    """What is wrong with the dates of a Secret's certificates; nothing of other resources."""
    if not isinstance(resource.spec, Secret):
        return ()
    held = [part for part in (resource.spec.chain, resource.spec.roots) if part]
    source, name = resource.at("data"), f"{resource.key.kind}/{resource.key.name}"
    found = dict.fromkeys(message for part in held if (message := certificates.age_problem(part.reveal(), now)))
    return tuple(
        Violation(origin=source.origin, resource=name, field=source.field, message=message, namespace=resource.key.namespace)
        for message in found
    )
