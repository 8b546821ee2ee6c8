"""Inputs to mesh: the one way in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from tulle.compile import catalog, services
from tulle.compile.catalog import Catalog, ServiceKey
from tulle.compile.credentials import Credentials, of_config_maps
from tulle.compile.groups import LABEL, completed, group_of, groups
from tulle.compile.memo import Memo
from tulle.compile.mesh import Mesh
from tulle.compile.rules import Documents, arrange, of_kind
from tulle.compile.scope import Structure
from tulle.compile.services import Definition
from tulle.compile.statuses import statuses
from tulle.compile.virtual import allocated
from tulle.compile.workloads import Workload
from tulle.model.mesh import Inputs
from tulle.model.resource import Key, Status
from tulle.resources.core import KubernetesService
from tulle.resources.core_config_map import ConfigMap
from tulle.resources.core_secret import Secret
from tulle.resources.networking.service_entry import ServiceEntry
from tulle.resources.networking.workload_entry import WorkloadEntry

_ROOM = 64
"""Results kept for each document and registration before the least used are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A mesh, and what became of each document."""

    mesh: Mesh
    statuses: Mapping[Key, Status]
    inputs: Inputs


def build(inputs: Inputs, previous: Built | None = None) -> Built:
    """Compiles the mesh. Never fails: what cannot be used is left out, and its status says why.

    With `previous` only what changed since is made anew; the rest is shared, by identity.
    """
    if previous is not None and previous.inputs.settings != inputs.settings:
        previous = None
    memo = previous.mesh.memo if previous else Memo()
    memo.age(_ROOM * (len(inputs.resources) + len(inputs.registrations)) + 65_536)
    same = previous is not None and _same(previous.inputs, inputs)
    found = _catalog(inputs, previous, memo, same_documents=same)
    structure = _structure(inputs, previous, found, memo, same_documents=same)
    mesh = Mesh(structure=structure, catalog=found, memo=memo)
    kept = previous is not None and structure is previous.mesh.structure
    return Built(mesh=mesh, statuses=previous.statuses if previous and kept else statuses(structure, inputs, memo), inputs=inputs)


def _same(before: Inputs, after: Inputs) -> bool:
    """Whether both hold the very same documents."""
    if before.resources is after.resources:
        return True
    return len(before.resources) == len(after.resources) and all(before.resources.get(k) is r for k, r in after.resources.items())


def _structure(inputs: Inputs, previous: Built | None, found: Catalog, memo: Memo, *, same_documents: bool) -> Structure:
    settings = inputs.settings
    if previous and same_documents:
        before = previous.mesh.structure
        if before.backends is found.backends:
            return before
        rules = before.rules
    else:
        rules = arrange(inputs.resources, settings.domain, settings.root_namespace, memo)
    return Structure(settings=settings, backends=found.backends, rules=rules, credentials=_credentials(inputs, previous, same_documents))


def _credentials(inputs: Inputs, previous: Built | None, same_documents: bool) -> Credentials:
    if previous and same_documents:
        return previous.mesh.structure.credentials
    authorities = of_config_maps(of_kind(inputs.resources, ConfigMap))
    return {**dict(authorities), **{(r.key.namespace, r.key.name): r for r in of_kind(inputs.resources, Secret)}}


def _catalog(inputs: Inputs, previous: Built | None, memo: Memo, *, same_documents: bool) -> Catalog:
    before = previous.mesh.catalog if previous else Catalog()
    domain = inputs.settings.domain
    documents = before.documents if previous and same_documents else _definitions(inputs, domain, memo)
    changes = _changed_registrations(previous.inputs if previous else Inputs(), inputs, same_documents=same_documents)
    if not same_documents:
        changes.update(_changed_entries(previous.inputs.resources if previous else {}, inputs.resources))
    return catalog.update(before, changes, documents, domain, memo)


def _definitions(inputs: Inputs, domain: str, memo: Memo) -> Mapping[ServiceKey, tuple[Definition, ...]]:
    """The same mapping as before if no document that declares a service changed."""
    found: list[Definition] = []
    cores = of_kind(inputs.resources, KubernetesService)
    found += (memo.get(("core", core.key), (core,), partial(services.of_core, core, domain)) for core in cores)
    for entry in of_kind(inputs.resources, ServiceEntry):
        found += memo.get(("entry", entry.key), (entry,), partial(services.of_entry, entry, domain))
    return memo.get(("definitions",), tuple(found), partial(_by_service, found, memo))


def _by_service(definitions: Iterable[Definition], memo: Memo) -> Mapping[ServiceKey, tuple[Definition, ...]]:
    found: dict[ServiceKey, list[Definition]] = {}
    for definition in definitions:
        found.setdefault(ServiceKey(definition.service.host, definition.service.namespace), []).append(definition)
    return _addressed({key: tuple(sorted(group, key=lambda d: d.rank)) for key, group in sorted(found.items())}, memo)


def _addressed(groups: Mapping[ServiceKey, tuple[Definition, ...]], memo: Memo) -> Mapping[ServiceKey, tuple[Definition, ...]]:
    """With an address for each service that wants one: where several definitions speak of it, none of them brings any."""
    wanting = [key for key, group in groups.items() if all(d.wants_address for d in group)]
    wanting.sort(key=lambda key: (groups[key][0].rank, key))
    taken = {text for group in groups.values() for d in group for text in d.service.addresses}
    found = allocated(wanting, taken)
    return {key: _with_address(key, group, found[key], memo) if key in found else group for key, group in groups.items()}


def _with_address(key: ServiceKey, group: tuple[Definition, ...], address: str, memo: Memo) -> tuple[Definition, ...]:
    def make() -> tuple[Definition, ...]:
        return tuple(replace(d, service=replace(d.service, allocated=address)) for d in group)

    return memo.get(("addressed", key), (group, address), make)


def _changed_registrations(before: Inputs, after: Inputs, *, same_documents: bool) -> dict[str, Workload | None]:
    """Those that said something new, and those of whose group something new is said."""
    old, new = before.registrations, after.registrations
    changes: dict[str, Workload | None] = {services.registration_id(id_): None for id_ in old.keys() - new.keys()}
    concerned = {id_ for id_, registration in new.items() if old.get(id_) is not registration}
    grouped = [id_ for id_ in (concerned if same_documents else new) if LABEL in new[id_].labels]
    known = groups(after.resources) if grouped else {}
    if grouped and not same_documents:
        earlier = groups(before.resources)
        concerned |= {id_ for id_ in grouped if group_of(new[id_], earlier) is not group_of(new[id_], known)}
    for id_ in sorted(concerned):
        registration = completed(new[id_], group_of(new[id_], known))
        changes[services.registration_id(id_)] = services.workload_of_registration(id_, registration)
    return changes


def _changed_entries(before: Documents, after: Documents) -> dict[str, Workload | None]:
    old = {r.key: r for r in of_kind(before, WorkloadEntry)}
    new = {r.key: r for r in of_kind(after, WorkloadEntry)}
    changes: dict[str, Workload | None] = {str(key): None for key in old.keys() - new.keys()}
    for key, entry in new.items():
        if old.get(key) is not entry:
            changes[str(key)] = services.workload_of_entry(str(key), key.name, key.namespace, entry.spec, entry.labels)
    return changes
