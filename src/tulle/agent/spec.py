"""What an agent is told: the workload to run, and how it treats all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tulle.agent.bootstrap import BootstrapSettings
from tulle.agent.supervise import Restart
from tulle.credentials import NOBODY, Credentials
from tulle.model.frozen import FrozenMap
from tulle.model.identity import NO_LABELS, Labels, Locality
from tulle.model.proxy import Upstream
from tulle.model.service import Protocol, RegisteredPort, Registration
from tulle.registry.form import dump, parse

if TYPE_CHECKING:
    from tulle.agent.membership import Membership

Sink = Callable[[str, str], None]
"""Takes the name of a workload and one line of output."""


def plain_sink(name: str, line: str) -> None:
    """Writes `name | line` to standard error."""
    sys.stderr.write(f"{name} | {line}\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """What holds for all proxies and workloads of one agent. Times in seconds."""

    xds: str = "127.0.0.1:15010"
    """Where proxies get their configuration: `host:port` or the absolute path of a Unix socket."""
    api: str = "127.0.0.1:8500"
    """Where workloads are registered: `host:port` or the absolute path of a Unix socket."""
    credentials: Credentials = NOBODY
    """Headers that say who asks the API."""
    member: Membership | None = None
    """Of the mesh, where the machine has joined."""
    run_dir: str = ""
    """For the proxies' files and sockets; empty for `$XDG_RUNTIME_DIR/tulle`, else one of the user's own in the temporary directory."""
    concurrency: int = 0
    """Worker threads of a proxy; 0 for one beside a workload, and as many as there are cores for a gateway."""
    delta: bool = True
    """Incremental xDS; else state of the world."""
    drain: float = 2.0
    """How long a proxy goes on serving callers that are still connected, after it left the registry."""
    leave: float = 5.0
    """How long to wait until the other proxies know that an instance is leaving."""
    grace: float = 5.0
    """Between the polite and the final signal to a workload."""
    hold: float = 5.0
    """How long a workload waits for its proxy before it is started without."""
    ttl: float = 30.0
    """Registrations that are not renewed for this long disappear."""
    renew: float = 10.0
    node: str = ""
    """The name of this machine; empty for the control plane's own."""
    log_level: str = "warning"
    """Of the proxies: trace, debug, info, warning, error, critical, off."""
    sink: Sink = plain_sink
    """Where the lines of workloads and proxies go."""

    def boot(self) -> BootstrapSettings:
        """What all proxies start with."""
        return BootstrapSettings(xds=self.xds, delta=self.delta, admin="", member=self.member.files if self.member else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadPort:
    """A port that the workload offers to the mesh."""

    number: int
    """What callers dial."""
    target: int = 0
    """Where the application listens; 0 for a free port, given to it as PORT and in place of `{port}`."""
    name: str = ""
    protocol: Protocol = Protocol.HTTP

    @property
    def is_udp(self) -> bool:
        return self.protocol is Protocol.UDP


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtWish:
    """The application wants JSON Web Tokens with its identity, for those with whom it has no mutual TLS."""

    audiences: tuple[str, ...]
    path: str = ""
    """Where it finds the one that holds; empty for a file in the private directory of its proxy. TULLE_JWT_FILE tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSpec:
    """One instance of a service to run on this machine."""

    id: str
    """Unique in the mesh: names the registration and, as `sidecar~<id>`, the proxy."""
    service: str
    """Empty for a workload that only calls others: it is not registered."""
    namespace: str = "default"
    version: str = ""
    labels: Labels = NO_LABELS
    ports: tuple[WorkloadPort, ...] = ()
    command: tuple[str, ...] = ()
    """Empty where the application is started by someone else; its ports then have targets."""
    environment: FrozenMap[str, str] = field(default_factory=FrozenMap)
    """In addition to the agent's own, and to what the agent sets (PORT, http_proxy, TULLE_...)."""
    directory: str = ""
    service_account: str = "default"
    locality: Locality = Locality()
    weight: int = 1
    upstreams: tuple[Upstream, ...] = ()
    jwt: JwtWish | None = None
    address: str = "127.0.0.1"
    """What callers dial, and where the proxy listens."""
    restart: Restart = Restart.ALWAYS
    first_delay: float = 0.2
    """Seconds before the first restart."""
    title: str = ""
    """What people see in front of its lines; empty for service and version."""

    @property
    def name(self) -> str:
        """For people: `reviews-v1`."""
        return self.title or "-".join(part for part in (self.service or self.id, self.version if self.service else "") if part)

    @property
    def all_labels(self) -> Labels:
        """Those given, with `app` and `version` filled in."""
        known = {"app": self.service, "version": self.version}
        return Labels({name: value for name, value in known.items() if value} | dict(self.labels))

    def check(self) -> None:
        """Raises ValueError with all that keeps the workload from being registered: its names, its address, its ports."""
        if self.service:
            ports = (RegisteredPort(number=p.number, target=p.number, name=p.name, protocol=p.protocol) for p in self.ports)
            parse(self.id, dump(self.registration(tuple(ports), "")))

    def registration(self, ports: tuple[RegisteredPort, ...], proxy: str) -> Registration:
        """What the registry is told of this instance, whose proxy listens on these ports."""
        return Registration(
            id=self.id,
            service=self.service,
            namespace=self.namespace,
            address=self.address,
            ports=ports,
            labels=self.all_labels,
            service_account=self.service_account,
            locality=self.locality,
            weight=self.weight,
            proxy=proxy,
        )
