"""What the HTTP API sees of the running mesh: answers from memory, made of what was built last and of what proxies have said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from tulle.compile import Built, build, gateway_addresses, names
from tulle.compile.foresight import arising
from tulle.compile.gatewayapi.attach import GATEWAY
from tulle.compile.patching import bootstrap_patches
from tulle.compile.proxy_start import ProxyStart, proxy_start
from tulle.model.identity import Labels
from tulle.model.mesh import Inputs
from tulle.model.proxy import Node, Role
from tulle.model.resource import Condition, Key, Resource, Status, Violation
from tulle.model.service import Health, Service, port_number
from tulle.protos import from_dict, to_dict
from tulle.resources.gatewayapi import Gateway
from tulle.resources.networking.envoy_messages import MESSAGES
from tulle.server.apart import apart
from tulle.server.fleet import Fleet
from tulle.server.gateway_status import addresses, callers_hidden, gateway_programmed, set_programmed, with_listeners
from tulle.server.ports import EndpointInfo, Progress, ProxyInfo, ServiceInfo
from tulle.server.standing import Standing, failing


class Certificates(Protocol):
    """Those that public authorities give."""

    def status(self, key: Key) -> Status: ...

    def secret(self, key: Key) -> Key | None:
        """Of the Secret that a Certificate is put into; None for one that is not kept (yet)."""
        ...


class Running(Protocol):
    """The state of a control plane, replaced as a whole when something changes."""

    ready: asyncio.Event
    fleet: Fleet
    built: Built

    @property
    def inputs(self) -> Inputs: ...

    @property
    def certificates(self) -> Certificates: ...

    @property
    def standing(self) -> Standing: ...

    def version(self, node_id: str) -> str:
        """Of a proxy's program."""
        ...


class LiveMesh:
    """Implements `ports.Live`."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def ready(self) -> str:
        return "" if self._running.ready.is_set() else "the control plane has not read its documents yet"

    def root_namespace(self) -> str:
        return self._running.inputs.settings.root_namespace

    def proxy_start(self, namespace: str, labels: Labels) -> ProxyStart:
        return proxy_start(self._running.inputs.resources.values(), self.root_namespace(), namespace, labels)

    def bootstrap_changes(self, node: Node) -> list[dict[str, Any]]:
        found = bootstrap_patches(self._running.inputs.resources.values(), self.root_namespace(), node)
        return [
            {
                "value": to_dict(from_dict(MESSAGES[patch.apply_to], json.loads(patch.value))),
                "replace_lists": patch.operation == "MERGE_AND_REPLACE_LIST",
            }
            for patch in found
        ]

    def status(self, key: Key) -> Status:
        compiled = self._running.built.statuses.get(key, Status())
        if key.kind == "Certificate":
            return self._of_certificate(key)
        # That a document could be read is for the documents to say; here it only counts if it could not be compiled.
        failed = tuple(c for c in compiled.conditions if (c.type, c.status, c.reason) != ("Accepted", True, "Accepted"))
        programmed = self._programmed(key)
        details: Mapping[str, Any] = compiled.details
        if key.kind == GATEWAY:
            programmed = gateway_programmed(programmed, compiled.condition("Accepted"))
            details = {**details, **self._places(key)}
        elif key.kind == "ListenerSet":
            programmed = set_programmed(programmed, compiled.condition("Accepted"))
        conditions = (*failed, programmed, *self._addresses(key))
        return Status(conditions=conditions, warnings=compiled.warnings, details=with_listeners(details, programmed))

    def warnings(self, key: Key) -> tuple[Violation, ...]:
        compiled = self._running.built.statuses.get(key, Status()).warnings
        return (*compiled, *self._running.certificates.status(key).warnings) if key.kind == "Certificate" else compiled

    async def foreseen(self, change: Mapping[Key, Resource[Any] | None]) -> Sequence[Violation]:
        built, inputs = self._running.built, self._running.inputs
        after = {**inputs.resources, **{key: resource for key, resource in change.items() if resource}}
        for key in (key for key, resource in change.items() if resource is None):
            after.pop(key, None)
        # From nothing, as what is kept from one mesh to the next is the event loop's own.
        candidate = await asyncio.to_thread(build, replace(inputs, resources=after))
        now = built if built.inputs is inputs else await asyncio.to_thread(build, inputs)
        return arising(after, now.statuses, candidate.statuses, change.keys())

    def _of_certificate(self, key: Key) -> Status:
        """Programmed where the proxies have what is in its Secret."""
        kept, secret = self._running.certificates.status(key), self._running.certificates.secret(key)
        programmed = self._running.fleet.programmed(secret or key)
        return replace(kept, conditions=(programmed, *kept.conditions), warnings=self.warnings(key))

    def _programmed(self, key: Key) -> Condition:
        found, inputs = self._running.fleet.programmed(key), self._running.inputs
        resource = inputs.resources.get(key)
        if found.reason != "NoProxy" or resource is None:
            return found
        return apart(found, resource, [member.node for member in self._running.fleet.members.values()], inputs.settings.root_namespace)

    def changed(self) -> datetime:
        return self._running.fleet.changed

    def proxies(self) -> Sequence[ProxyInfo]:
        return [replace(info, version=self._running.version(info.id)) for info in self._running.fleet.infos()]

    def services(self) -> Sequence[ServiceInfo]:
        mesh = self._running.built.mesh
        found = []
        for service in mesh.services:
            all_of = {(e.address, e.port): e for endpoints in mesh.endpoints(service).values() for e in endpoints}
            healthy = sum(e.health is Health.PASSING for e in all_of.values())
            found.append(ServiceInfo(service=service, endpoints=len(all_of), healthy=healthy))
        return found

    def endpoints(self, host: str, namespaces: tuple[str, ...] = ()) -> Sequence[EndpointInfo] | None:
        mesh = self._running.built.mesh
        wanted = set(self._names(host))
        services = [service for service in mesh.services if service.host in wanted and (not namespaces or service.namespace in namespaces)]
        if not services:
            return None
        return [info for service in services for info in self._standing(service)]

    def _standing(self, service: Service) -> Iterable[EndpointInfo]:
        known = [
            EndpointInfo(endpoint=endpoint, service_port=port_number(port))
            for port, endpoints in self._running.built.mesh.endpoints(service).items()
            for endpoint in endpoints
        ]
        known += failing(service, self._running.inputs.registrations.values(), known)
        return self._running.standing.told(service, known)

    def explain(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        from tulle.compile.explain.payload import explain_request  # noqa: PLC0415 - slow to load

        node = self._node(question.get("from"))
        nodes = (member.node for member in self._running.fleet.members.values())
        return explain_request(self._running.built.mesh, node, question, nodes)

    def can(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        from tulle.compile.explain.can import can_request  # noqa: PLC0415 - slow to load

        nodes = (member.node for member in self._running.fleet.members.values())
        return can_request(self._running.built.mesh, nodes, question)

    async def wait_acknowledged(self, revision: int, timeout: float) -> Progress:
        return await self._running.fleet.until(revision, timeout)

    def _names(self, host: str) -> Iterable[str]:
        domain = self._running.built.mesh.settings.domain
        yield host
        yield names.resolve(host, "default", domain)
        if host.count(".") == 1:
            yield f"{host}.svc.{domain}"

    def _node(self, said: object) -> Node:
        """A proxy by its id, by what it stands beside, by its service, or the first `gateway`. Raises LookupError, ValueError."""
        if not isinstance(said, str):
            raise ValueError('the question needs "from", a text: the proxy that sends it')  # noqa: TRY004 - what was sent is a value
        members = dict(sorted(self._running.fleet.members.items()))
        for identifier in (said, f"sidecar~{said}", f"gateway~{said}"):
            if identifier in members:
                return members[identifier].node
        nodes = [member.node for member in members.values()]
        for node in nodes:
            if (said == "gateway" and node.role is Role.GATEWAY) or (node.role is Role.SIDECAR and said and node.service == said):
                return node
        known = ", ".join(members) or "none"
        raise LookupError(f"no proxy {said!r} is connected; connected are: {known}")

    def _places(self, key: Key) -> Mapping[str, Any]:
        resource = self._running.inputs.resources.get(key)
        spec = resource.spec if resource else None
        asked = (a.value for a in spec.addresses if a.type == "IPAddress" and a.value) if isinstance(spec, Gateway) else ()
        nodes = [member.node for member, _ in self._running.fleet.concerned(key)]
        return {"addresses": addresses(nodes, asked)} if nodes else {}

    def _addresses(self, key: Key) -> Iterable[Condition]:
        """For a Gateway: where its servers really are, when a port could not be had, and what else its proxies have no right to."""
        if key.kind not in ("Gateway", GATEWAY):
            return
        for member, _ in self._running.fleet.concerned(key):
            moved = [s for s in gateway_addresses(self._running.built.mesh, member.node) if s.gateway == key and s.port != s.declared_port]
            if moved:
                where = ", ".join(f"port {s.declared_port} on {s.port}" for s in moved)
                text = f"{member.node.id} may not bind ports below 1024 and serves {where}"
                yield Condition(type="Moved", status=True, reason="UnprivilegedPort", message=text)
            resource = self._running.inputs.resources.get(key)
            yield from callers_hidden(member.node, resource.annotations) if resource else ()
