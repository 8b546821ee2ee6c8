"""PeerAuthentication: whether workloads take mutual TLS, plain text, or both."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Annotated

from tulle.model.frozen import FrozenMap
from tulle.resources.attachment import PolicySelector
from tulle.resources.scalars import Map, choice
from tulle.resources.spec import Problem, Spec, shown


class MtlsMode(Enum):
    UNSET = "UNSET"
    """As the policy of the namespace, then of the mesh, says."""
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


class MutualTls(Spec):
    mode: Annotated[MtlsMode, choice(MtlsMode)] = MtlsMode.UNSET


class PeerAuthentication(Spec):
    selector: PolicySelector | None = None
    mtls: MutualTls = MutualTls.unsaid()
    port_level_mtls: Map[MutualTls] = FrozenMap()
    """By the number, in digits, of the workload's own port."""

    @property
    def ports(self) -> dict[int, MtlsMode]:
        """The modes of single ports."""
        return {int(port): tls.mode for port, tls in self.port_level_mtls.items()}

    def check(self) -> Iterable[Problem]:
        if self.port_level_mtls and not (self.selector and self.selector.match_labels):
            yield ("port_level_mtls",), "needs a selector with matchLabels"
        for port in self.port_level_mtls:
            if not (port.isascii() and port.isdecimal() and 0 < int(port) <= 65535):
                yield ("port_level_mtls", port), f"must be the number of a port, from 1 to 65535, not {shown(port)}"
