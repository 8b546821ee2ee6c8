"""The gate for proxies of other machines: what their certificates prove, and whether they may be who they say they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tulle.model.identity import Identity
from tulle.model.proxy import Node, Role
from tulle.model.service import Registration
from tulle.server.access.caller import Role as Access
from tulle.server.access.tokens import Tokens

REMEMBERED = 10_000
"""So many certificates are known by their text."""


class NotAdmittedError(Exception):
    """A proxy is turned away. The message is for whoever runs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What the certificate of a proxy proves."""

    identity: Identity
    holder: str
    """The id of its membership's token."""
    until: float
    """Seconds since 1970."""
    gateway: bool = False
    """It may be a gateway."""


class Gate:
    """`registered`: the instances that there are, by id."""

    def __init__(
        self, tokens: Tokens, trust_domain: str, registered: Callable[[], Mapping[str, Registration]], now: Callable[[], float] = time.time
    ) -> None:
        self._tokens, self._trust_domain, self._registered, self._now = tokens, trust_domain, registered, now
        self._known: dict[bytes, Proven] = {}

    async def proven(self, certificate: bytes) -> Proven:
        """Of a certificate (PEM) that the mesh's authority has signed. Raises NotAdmittedError, StoreError."""
        found = self._known.get(certificate)
        if found is None:
            found = await self._read(certificate)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[certificate] = found
        if found.until <= self._now():
            raise NotAdmittedError("its certificate has ended: its agent must renew it, or join anew")
        return found

    async def _read(self, certificate: bytes) -> Proven:
        from tulle.ca.joining import bearer_of  # noqa: PLC0415 - slow to load

        try:
            identity, holder, until = bearer_of(certificate)
        except ValueError as error:
            raise NotAdmittedError(str(error)) from None
        token = await self._tokens.held_by(holder)
        if token is None or token.role is not Access.WORKLOAD or token.identity(self._trust_domain) != identity:
            raise NotAdmittedError(f"{identity.uri()} is no member of the mesh any more: its machine must join anew")
        return Proven(identity=identity, holder=holder, until=until, gateway=token.gateway)

    def forget(self, holder: str) -> None:
        """A membership has ended."""
        self._known = {certificate: proven for certificate, proven in self._known.items() if proven.holder != holder}

    def check(self, proven: Proven, node: Node) -> None:
        """That a proxy is who it says. Raises NotAdmittedError."""
        own = f"{proven.identity.namespace}/{proven.identity.service_account}"
        said = f"{node.namespace}/{node.service_account or 'default'}"
        if said != own:
            raise NotAdmittedError(f"{node.id!r} says that it is {said}, and its certificate is for {own}")
        if node.role is Role.GATEWAY and not proven.gateway:
            raise NotAdmittedError(
                f"{node.id!r} says that it is a gateway: the token to join with must be made with --gateway, "
                f"or the control plane be started with --join-gateway {own}"
            )
        found = self._registered().get(node.id.partition("~")[2])
        if found and f"{found.namespace}/{found.service_account or 'default'}" != own:
            raise NotAdmittedError(f"the name {node.id!r} is that of an instance of another account than {own}")
