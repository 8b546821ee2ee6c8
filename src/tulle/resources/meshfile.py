"""The mesh file of `tulle up`: what to run on this machine, and which documents steer it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PlainValidator
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError

from tulle.model.identity import Locality
from tulle.model.mesh import MeshSettings
from tulle.model.proxy import Upstream
from tulle.model.service import Protocol
from tulle.resources.names import Host, Label, LabelMap, Plain, is_ip, label_value
from tulle.resources.networking.common import taken
from tulle.resources.networking.sidecar import OutboundMode
from tulle.resources.scalars import NO_TEXTS, AnyDuration, Flag, Port, TextMap, choice, text_that, whole
from tulle.resources.spec import Problem, Spec, shown

API_VERSION = "tulle.dev/v1"
KIND = "Mesh"
_PROTOCOLS = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.GRPC,
    "tcp": Protocol.TCP,
    "udp": Protocol.UDP,
    "auto": Protocol.AUTO,
}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class PortProtocol(Enum):
    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    TCP = "tcp"
    UDP = "udp"
    AUTO = "auto"


def _lowered(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class WorkloadPort(Spec):
    """A port that the workload offers to the mesh."""

    synonyms: ClassVar[Mapping[str, str]] = {"port": "number"}

    number: Annotated[Port, Field(description="What callers dial.")]
    name: Annotated[Label | None, Field(description="Of the port; by default its protocol and number.")] = None
    protocol: Annotated[PortProtocol, choice(PortProtocol), BeforeValidator(_lowered), Field(description="What is spoken on the port.")] = (
        PortProtocol.HTTP
    )
    target: Annotated[
        Port | None,
        Field(description="Where the application listens; by default a free port, given to it as PORT and in place of {port}."),
    ] = None

    @property
    def speaks(self) -> Protocol:
        return _PROTOCOLS[self.protocol.value]


def _bind(value: object) -> tuple[str, int]:
    """`16379` or `127.0.0.1:16379` or `[::1]:16379`."""
    address, _, port = str(value).rpartition(":")
    address = address.removeprefix("[").removesuffix("]") or "127.0.0.1"
    good = type(value) in (int, str) and port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535
    if not good or not is_ip(address):
        raise ValueError(f'must be a port or "address:port", such as "127.0.0.1:16379", not {shown(value)}')
    return address, int(port)


class WorkloadUpstream(Spec):
    """A service made reachable for the workload on a local address, for any protocol over TCP, or over UDP."""

    synonyms: ClassVar[Mapping[str, str]] = {"host": "service"}

    service: Annotated[Host, Field(description="Name of the service; a short name is looked up in the workload's namespace.")]
    port: Annotated[Port, Field(description="The service's port.")]
    bind: Annotated[
        tuple[str, int], PlainValidator(_bind, json_schema_input_type=int | str), Field(description='A local port, or "address:port".')
    ]
    udp: Annotated[Flag, Field(description="The service's port is one of UDP.")] = False

    def upstream(self) -> Upstream:
        return Upstream(host=self.service, port=self.port, bind=self.bind[0], bind_port=self.bind[1], udp=self.udp)


class RestartWhen(Enum):
    ALWAYS = "always"
    ON_FAILURE = "onFailure"
    NEVER = "never"


def _command(value: object) -> tuple[str, ...]:
    """A list of words, or one text that is cut as a shell would, but run without one."""
    if isinstance(value, str):
        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            raise ValueError(f"cannot be cut into words: {error}") from None
    if not isinstance(value, list | tuple) or not all(isinstance(word, str | int) and not isinstance(word, bool) for word in value):
        raise ValueError(f"must be a text or a list of words, not {shown(value)}")
    return tuple(str(word) for word in value)


def _environment(value: object) -> object:
    """Whole numbers become text, since variables often hold ports."""
    if not isinstance(value, dict):
        return value
    return {key: str(inner) if type(inner) is int else inner for key, inner in value.items()}


def _locality(value: object) -> Locality:
    if not isinstance(value, str) or not value or value.count("/") > 2:
        raise ValueError(f'must be "region", "region/zone" or "region/zone/subzone", not {shown(value)}')
    return Locality.parse(value)


class WorkloadJwt(Spec):
    """JSON Web Tokens with the workload's identity, for those with whom it has no mutual TLS."""

    audiences: Annotated[tuple[Plain, ...], Field(description="Who is to take them.")]
    file: Annotated[
        Plain | None, Field(description="Where the one that holds is kept, relative to the mesh file; by default a private file.")
    ] = None

    def check(self) -> Iterable[Problem]:
        if not self.audiences:
            yield ("audiences",), "must have at least one item"


class Workload(Spec):
    """A service's instances on this machine, all alike, each with a proxy of its own."""

    service: Annotated[
        Label | None, Field(description="The service that the instances belong to; none for a program that only calls others.")
    ] = None
    name: Annotated[Label | None, Field(description="For people and in logs; by default the service and the version.")] = None
    namespace: Label = "default"
    version: Annotated[str, text_that(label_value), Field(description="Becomes the label version.")] = ""
    labels: Annotated[LabelMap, Field(description="In addition to app and version.")] = NO_TEXTS
    service_account: Label = "default"
    replicas: Annotated[int, whole(0, 1000), Field(description="How many instances to run.")] = 1
    command: Annotated[
        tuple[str, ...],
        PlainValidator(_command, json_schema_input_type=str | list[str]),
        Field(description="A list of words, or a text, which is cut into words. {port} stands for the first port's target."),
    ] = ()
    working_directory: Annotated[Plain | None, Field(description="Relative to the mesh file.")] = None
    env: Annotated[
        TextMap, BeforeValidator(_environment), Field(description="In addition to the environment of tulle; {port} as in command.")
    ] = NO_TEXTS
    ports: tuple[WorkloadPort, ...] = ()
    upstreams: tuple[WorkloadUpstream, ...] = ()
    locality: Annotated[Locality, PlainValidator(_locality, json_schema_input_type=str), Field(description="region/zone/subzone.")] = (
        Locality()
    )
    weight: Annotated[int, whole(1, 2**32 - 1)] = 1
    jwt: Annotated[WorkloadJwt | None, Field(description="A file with a token, whose name the program finds in TULLE_JWT_FILE.")] = None
    restart: Annotated[RestartWhen, choice(RestartWhen), Field(description="What to do when the program ends.")] = RestartWhen.ALWAYS
    backoff: Annotated[AnyDuration | None, Field(description="Before the first restart; doubled with each.")] = None

    @property
    def title(self) -> str:
        """For people: `reviews-v1`."""
        return self.name or "-".join(part for part in (self.service, self.version) if part)

    def check(self) -> Iterable[Problem]:
        if not self.service and not self.name:
            yield (), "set one of service, name"
        if self.service and not self.ports:
            yield ("ports",), "must have at least one item where service is set"
        if not self.command:
            yield from self._problems_without_command()
        for udp in (False, True):
            numbers = (p.number if (p.protocol is PortProtocol.UDP) is udp else None for p in self.ports)
            yield from taken("ports", "number", numbers)
            yield from taken("upstreams", "bind", (u.bind if u.udp is udp else None for u in self.upstreams))
        yield from taken("ports", "name", (port.name for port in self.ports))
        for name in self.env:
            if not _VARIABLE.fullmatch(name):
                yield ("env", name), "is no name of a variable"
        if self.replicas > 1:
            yield from self._problems_of_replicas()

    def _problems_without_command(self) -> Iterable[Problem]:
        if not self.ports:
            yield ("command",), "required"
        for index, port in enumerate(self.ports):
            if port.target is None:
                yield ("ports", index, "target"), "required where the workload has no command"

    def _problems_of_replicas(self) -> Iterable[Problem]:
        why = "cannot be the same for several replicas"
        yield from ((("ports", index, "target"), why) for index, port in enumerate(self.ports) if port.target is not None)
        yield from ((("upstreams", index, "bind"), why) for index, _ in enumerate(self.upstreams))
        if self.jwt and self.jwt.file:
            yield ("jwt", "file"), why


class MeshGateway(Spec):
    """The gateway that is started with the mesh."""

    enabled: Flag = True
    name: Label = "ingressgateway"
    namespace: Label = "istio-system"
    labels: Annotated[LabelMap | None, Field(description="What Gateway documents select it by; by default istio: ingressgateway.")] = None
    bind: Annotated[Plain | None, Field(description="The address to listen on; by default 127.0.0.1.")] = None

    def check(self) -> Iterable[Problem]:
        if self.bind and not is_ip(self.bind):
            yield ("bind",), f"must be an IP address, not {shown(self.bind)}"


class OutboundPolicy(Spec):
    mode: Annotated[OutboundMode, choice(OutboundMode)] = OutboundMode.ALLOW_ANY


def _outbound(value: object) -> object:
    return {"mode": value} if isinstance(value, str) else value


class MeshSettingsSpec(Spec):
    domain: Annotated[Host, Field(description="The end of all services' full names.")] = "cluster.local"
    root_namespace: Annotated[Label, Field(description="Where documents hold for the whole mesh.")] = "istio-system"
    outbound_traffic_policy: Annotated[
        OutboundPolicy, BeforeValidator(_outbound), Field(description="Whether workloads may call hosts that the mesh does not know.")
    ] = OutboundPolicy.unsaid()

    def settings(self) -> MeshSettings:
        return MeshSettings(
            domain=self.domain,
            root_namespace=self.root_namespace,
            allow_any=self.outbound_traffic_policy.mode is OutboundMode.ALLOW_ANY,
        )


class Mesh(Spec):
    """A whole mesh on one machine: what `tulle up` starts."""

    config: Annotated[tuple[Plain, ...], Field(description="Files and folders of documents, relative to the mesh file.")] = ()
    gateway: MeshGateway = MeshGateway.unsaid()
    settings: MeshSettingsSpec = MeshSettingsSpec.unsaid()
    workloads: tuple[Workload, ...] = ()

    def check(self) -> Iterable[Problem]:
        yield from _local_conflicts(self.workloads)


def _local_conflicts(workloads: Iterable[Workload]) -> Iterable[Problem]:
    """Two upstreams, or an upstream and an application, cannot have the same place on this machine."""
    holders: dict[tuple[tuple[str, int], bool], str] = {}
    for index, workload in enumerate(workloads):
        places = [((upstream.bind, upstream.udp), ("upstreams", number, "bind")) for number, upstream in enumerate(workload.upstreams)]
        places += [
            ((("127.0.0.1", port.target), port.protocol is PortProtocol.UDP), ("ports", number, "target"))
            for number, port in enumerate(workload.ports)
            if port.target
        ]
        for spot, place in places:
            (address, port_number), _ = spot
            if spot in holders and workload.replicas <= 1:
                yield ("workloads", index, *place), f"{address}:{port_number} is taken by {holders[spot]}"
            holders[spot] = f"workloads[{index}]"


class _Schema(GenerateJsonSchema):
    """Shows the defaults that a document could say; objects show theirs field by field."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Spec | Locality):
            raise PydanticSerializationError("shown by its fields")
        if isinstance(dft, Enum):
            return dft.value
        return dict(dft) if isinstance(dft, Mapping) else super().encode_default(dft)

    def emit_warning(self, kind: Any, detail: str) -> None:
        """A default that is left out is what was wanted."""


def json_schema() -> dict[str, Any]:
    """The JSON schema of mesh files, for editors and for the documentation. Always the same."""
    spec = Mesh.model_json_schema(ref_template="#/$defs/{model}", schema_generator=_Schema)
    parts = spec.pop("$defs")
    name = {"type": "string", "description": "Of the mesh, for people."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Mesh file of Tulle",
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": KIND},
            "metadata": {"type": "object", "required": ["name"], "properties": {"name": name}},
            "spec": spec,
        },
        "$defs": dict(sorted(parts.items())),
    }
