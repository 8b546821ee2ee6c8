"""What documents and registrations say that there is: definitions of services, before instances are looked up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tulle.compile import names, protocols
from tulle.compile.findings import Found
from tulle.compile.workloads import SERVICE, Workload
from tulle.model.frozen import FrozenMap
from tulle.model.identity import NO_LABELS, Locality
from tulle.model.resource import Resource, Source
from tulle.model.service import Endpoint, Port, Protocol, RegisteredPort, Registration, Resolution, Service, port_key
from tulle.resources.core import KubernetesPort, KubernetesService, ServiceType, Transport
from tulle.resources.networking.service_entry import Location, ServiceEntry, ServicePort
from tulle.resources.networking.service_entry import Resolution as EntryResolution
from tulle.resources.networking.workload_entry import WorkloadEntry

TLS_MODE = "security.istio.io/tlsMode"
"""The label of a WorkloadEntry that says, with `istio`, that there is a sidecar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A service as one document declares it."""

    id: str
    service: Service
    rank: tuple[int, int, str]
    """Which of several definitions of one host speaks first: core Services, then documents by age, then mere registrations."""
    selector: Mapping[str, str] = field(default_factory=dict)
    """Picks workloads of the service's namespace; empty picks none."""
    fixed: tuple[Workload, ...] = ()
    """Endpoints written in the document itself."""
    wants_address: bool = False
    """Whether one is to be allocated for it."""


def registration_id(id_: str) -> str:
    return f"registration/{id_}"


def workload_of_registration(id_: str, registration: Registration) -> Workload:
    labels = registration.labels
    if "app" not in labels:
        labels = FrozenMap({**labels, "app": registration.service})
    endpoint = Endpoint(
        address=registration.address,
        labels=labels,
        locality=registration.locality,
        weight=max(1, registration.weight),
        health=registration.health,
        service_account=registration.service_account,
        workload=registration.id,
        tags=registration.tags,
        mtls=bool(registration.proxy),
    )
    return Workload(
        id=registration_id(id_),
        namespace=registration.namespace,
        labels=labels,
        endpoint=endpoint,
        registered=registration.ports,
        service=registration.service,
    )


def workload_of_entry(
    id_: str, name: str, namespace: str, spec: WorkloadEntry, extra: Mapping[str, str] = NO_LABELS, source: Source | None = None
) -> Workload:
    """From a WorkloadEntry, or from an endpoint of a ServiceEntry, which has the same form."""
    labels = FrozenMap({**extra, **spec.labels})
    endpoint = Endpoint(
        address=(spec.address or "").removeprefix("unix://"),
        labels=labels,
        locality=Locality.parse(spec.locality or ""),
        weight=max(1, spec.weight or 1),
        service_account=spec.service_account or "",
        workload=name,
        network=spec.network or "",
        mtls=bool(spec.service_account) or labels.get(TLS_MODE) == "istio",
        source=source,
    )
    return Workload(id=id_, namespace=namespace, labels=labels, endpoint=endpoint, named=FrozenMap(spec.ports))


def of_registrations(service: str, namespace: str, domain: str, workloads: tuple[Workload, ...]) -> Definition:
    """A service that is known only by its instances: its ports are all that they registered, the first to name a number speaks for it."""
    ports: dict[int, RegisteredPort] = {}
    for workload in workloads:
        for port in workload.registered or ():
            ports.setdefault(port_key(port.number, udp=port.protocol is Protocol.UDP), port)
    host = names.resolve(service, namespace, domain)
    return Definition(
        id=f"registered/{namespace}/{service}",
        service=Service(
            host=host,
            name=service,
            namespace=namespace,
            ports=tuple(Port(number=p.number, name=p.name, protocol=p.protocol, target=p.number) for _, p in sorted(ports.items())),
        ),
        rank=(2, 0, service),
        selector={SERVICE: service},
    )


def of_core(resource: Resource[KubernetesService], domain: str) -> Definition:
    """A v1/Service. Without a selector it stands for the instances registered under its name."""
    spec, key = resource.spec, resource.key
    external = (spec.external_name or "") if spec.type is ServiceType.EXTERNAL_NAME else ""
    service = Service(
        host=f"{key.name}.{key.namespace}.svc.{domain}",
        name=key.name,
        namespace=key.namespace,
        ports=tuple(_core_port(p) for p in spec.ports if p.protocol is not Transport.SCTP),
        addresses=tuple(a for a in (spec.cluster_ip or "",) if names.is_address(a)),
        resolution=Resolution.DNS if external else Resolution.STATIC,
        external=bool(external),
        labels=resource.labels,
        source=resource.at("spec"),
        created=resource.created,
        traffic_distribution=_distribution(resource, spec.traffic_distribution),
    )
    fixed = (Workload(id="external", namespace=key.namespace, labels=NO_LABELS, endpoint=Endpoint(address=external)),) if external else ()
    selector = {} if external else (dict(spec.selector) or {SERVICE: key.name})
    return Definition(id=str(key), service=service, rank=(0, resource.created, key.name), selector=selector, fixed=fixed)


_ALLOCATE = "networking.istio.io/enable-autoallocate-ip"
"""A label that may say `false`."""
_DISTRIBUTION = "networking.istio.io/traffic-distribution"


def _distribution(resource: Resource[object], said: str | None = None) -> str:
    """The annotation speaks before the field, as in Istio."""
    return resource.annotations.get(_DISTRIBUTION) or said or ""


def _core_port(port: KubernetesPort) -> Port:
    protocol = protocols.of_port(port.port, port.name or "", port.app_protocol or "", port.protocol.value)
    return Port(number=port.port, name=port.name or "", protocol=protocol, target=port.target_port)


def _entry_protocol(port: ServicePort) -> Protocol:
    return protocols.named(port.protocol or "") or protocols.of_port(port.number, port.name)


def of_entry(resource: Resource[ServiceEntry], domain: str) -> tuple[Definition, ...]:
    """A ServiceEntry: one definition for each of its hosts."""
    spec, key = resource.spec, resource.key
    ports = tuple(Port(number=p.number, name=p.name, protocol=_entry_protocol(p), target=p.target_port) for p in spec.ports)
    bare = not spec.addresses and spec.resolution is not EntryResolution.NONE and resource.labels.get(_ALLOCATE) != "false"
    selector = dict(spec.workload_selector.labels) if spec.workload_selector else {}
    fixed = tuple(workload_of_entry(f"{key}/{i}", f"{key.name}-{i}", key.namespace, e) for i, e in enumerate(spec.endpoints))
    return tuple(
        Definition(
            id=f"{key}/{host}",
            service=Service(
                host=names.resolve(host, key.namespace, domain),
                name=key.name,
                namespace=key.namespace,
                ports=ports,
                addresses=spec.addresses,
                resolution=Resolution(spec.resolution.value),
                external=spec.location is Location.MESH_EXTERNAL,
                export_to=spec.export_to or ("*",),
                labels=resource.labels,
                source=resource.at("spec"),
                created=resource.created,
                traffic_distribution=_distribution(resource),
                subject_alt_names=resource.spec.subject_alt_names,
            ),
            rank=(1, resource.created, key.name),
            selector=selector,
            fixed=fixed,
            wants_address=bare and not names.is_wildcard(host),
        )
        for host in spec.hosts
    )


_SPOKEN = (
    ("resolution", "resolution"),
    ("location", "external"),
    ("exportTo", "export_to"),
    ("addresses", "addresses"),
    ("subjectAltNames", "subject_alt_names"),
)
"""Fields of a ServiceEntry that are one for all of a host, as they are called in documents and in services."""


def overruled(resource: Resource[ServiceEntry], domain: str, spoken: Iterable[Service]) -> Iterator[Found]:
    """What an older document for the same host says otherwise. Other ports, and endpoints, stand beside its own.

    `spoken`: the services as all documents together make them.
    """
    own = {definition.service.host: definition.service for definition in of_entry(resource, domain)}
    for first in spoken:
        source, mine = first.source, own[first.host]
        if source is None or source.key == resource.key:
            continue
        why = f"not in force: {source.key.kind} {source.key.namespace}/{source.key.name} ({source.origin}) speaks for host {first.host}"
        for field_, attribute in _SPOKEN:
            said = getattr(mine, attribute) if attribute != "export_to" else resource.spec.export_to
            if said not in (getattr(first, attribute), ()):
                yield resource.at(f"spec.{field_}"), why
        for index, port in enumerate(mine.ports):
            if first.port(port.key) != port:
                yield resource.at(f"spec.ports[{index}]"), why
