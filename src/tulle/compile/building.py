"""Inputs to mesh: the one way in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from tulle.compile import catalog, peers, services, tables
from tulle.compile.catalog import Catalog, ServiceKey
from tulle.compile.consul.protocols import Spoken, changed, speaking, spoken
from tulle.compile.credentials import Credentials, of_config_maps
from tulle.compile.gatewayapi.documents import ROUTES
from tulle.compile.groups import LABEL, Groups, completed, group_of, groups
from tulle.compile.kinds import Kinds, sorted_out
from tulle.compile.logins import Logins, logins, named
from tulle.compile.memo import Memo
from tulle.compile.mesh import Mesh
from tulle.compile.peers import Peers
from tulle.compile.rules import arrange
from tulle.compile.scope import Structure
from tulle.compile.services import Definition
from tulle.compile.statuses import statuses
from tulle.compile.tokens import Authentications, Own, authentications
from tulle.compile.virtual import allocated
from tulle.compile.workloads import Workload
from tulle.model.mesh import Inputs
from tulle.model.resource import Key, Resource, Status
from tulle.resources.core import KubernetesService
from tulle.resources.core_config_map import ConfigMap
from tulle.resources.core_secret import Secret
from tulle.resources.networking.service_entry import ServiceEntry
from tulle.resources.networking.virtual_service import VirtualService
from tulle.resources.networking.workload_entry import WorkloadEntry
from tulle.resources.security import Authentication, PeerAuthentication, RequestAuthentication

_ROOM = 64
"""Results kept for each document and registration before the least used are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A mesh, and what became of each document."""

    mesh: Mesh
    statuses: Mapping[Key, Status]
    inputs: Inputs
    kinds: Kinds


def build(inputs: Inputs, previous: Built | None = None) -> Built:
    """Compiles the mesh. Never fails: what cannot be used is left out, and its status says why.

    With `previous` only what changed since is made anew; the rest is shared, by identity.
    """
    if previous is not None and previous.inputs.settings != inputs.settings:
        previous = None
    memo = previous.mesh.memo if previous else Memo()
    memo.age(_ROOM * (len(inputs.resources) + len(inputs.registrations)) + 65_536)
    kinds = sorted_out(inputs.resources, memo)
    found = _catalog(inputs, kinds, previous, memo)
    structure = _structure(inputs, kinds, previous, found, memo)
    mesh = Mesh(structure=structure, catalog=found, memo=memo)
    kept = previous is not None and structure is previous.mesh.structure
    said = previous.statuses if previous and kept else statuses(structure, kinds, memo)
    return Built(mesh=mesh, statuses=said, inputs=inputs, kinds=kinds)


def _structure(inputs: Inputs, kinds: Kinds, previous: Built | None, found: Catalog, memo: Memo) -> Structure:
    settings = inputs.settings
    before = previous.mesh.structure if previous else None
    tokens = _authentications(inputs, kinds, memo)
    same = before and before.backends is found.backends and before.authentications is tokens and before.challenges == inputs.challenges
    if before and same and previous and _unchanged(inputs, kinds, previous):
        return before
    others, credentials = kinds.but(VirtualService, *ROUTES), _credentials(kinds, memo)
    asked = _logins(inputs, kinds, credentials, memo)
    return Structure(
        settings=settings,
        backends=found.backends,
        rules=memo.get(("rules",), (kinds, settings), lambda: arrange(kinds, settings, memo)),
        credentials=credentials,
        peers=found.peers,
        ground=memo.get(("ground",), (settings, found.backends, others, tokens, asked), object),
        authentications=tokens,
        no_firewall=inputs.no_firewall,
        broken_firewalls=inputs.broken_firewalls,
        logins=asked,
        challenges=inputs.challenges,
    )


def _unchanged(inputs: Inputs, kinds: Kinds, previous: Built) -> bool:
    """Whether no document changed, nor what others than the documents say of Firewalls and of providers."""
    before = previous.inputs
    said = (inputs.no_firewall, inputs.broken_firewalls, inputs.providers) == (
        before.no_firewall,
        before.broken_firewalls,
        before.providers,
    )
    return said and previous.kinds is kinds


def _authentications(inputs: Inputs, kinds: Kinds, memo: Memo) -> Authentications:
    """The same object as before if no RequestAuthentication changed and no keys did."""
    documents = tuple(kinds.of(RequestAuthentication).values())
    root, own = inputs.settings.root_namespace, Own(issuer=inputs.settings.token_issuer, keys=inputs.own_keys)
    key_sets, unfetched = inputs.key_sets, inputs.unfetched
    made_from = (documents, key_sets, unfetched, root, own)
    return memo.get(("authentications",), made_from, lambda: authentications(documents, root, key_sets, own, unfetched))


def _logins(inputs: Inputs, kinds: Kinds, secrets: Credentials, memo: Memo) -> Logins:
    """The same object as before if no Authentication changed, no Secret that one names, and nothing that a provider tells."""
    documents = tuple(kinds.of(Authentication).values())
    root, providers, unfetched = inputs.settings.root_namespace, inputs.providers, inputs.unfetched
    made_from = (root, providers, unfetched, documents, *(secrets.get(place) for place in named(documents)))
    return memo.get(("logins",), made_from, lambda: logins(documents, root, secrets, providers, unfetched))


def _credentials(kinds: Kinds, memo: Memo) -> Credentials:
    maps, secrets = kinds.of(ConfigMap), kinds.of(Secret)
    return memo.get(("credentials",), (maps, secrets), lambda: {**dict(of_config_maps(maps.values())), **_by_name(secrets.values())})


def _by_name(secrets: Iterable[Resource[Secret]]) -> Credentials:
    return {(r.key.namespace, r.key.name): r for r in secrets}


def _peers(inputs: Inputs, kinds: Kinds, memo: Memo) -> Peers:
    """The same object as before if no PeerAuthentication changed."""
    policies = kinds.of(PeerAuthentication)
    return memo.get(("peers",), (policies,), lambda: peers.arrange(policies.values(), inputs.settings))


def _catalog(inputs: Inputs, kinds: Kinds, previous: Built | None, memo: Memo) -> Catalog:
    before = previous.mesh.catalog if previous else Catalog()
    domain = inputs.settings.domain
    old = previous.kinds if previous else Kinds(by_type={})
    changes = _changed_registrations(
        previous.inputs if previous else Inputs(), inputs, (groups(old), spoken(old, memo)), (groups(kinds), spoken(kinds, memo))
    )
    changes.update(_changed_entries(old.of(WorkloadEntry), kinds.of(WorkloadEntry)))
    return catalog.update(before, changes, _definitions(kinds, domain, memo), domain, _peers(inputs, kinds, memo), memo)


def _definitions(kinds: Kinds, domain: str, memo: Memo) -> Mapping[ServiceKey, tuple[Definition, ...]]:
    """The same mapping as before if no document that declares a service changed."""
    cores = tables.each(memo, "cores", kinds.of(KubernetesService), lambda _, core: (services.of_core(core, domain),), (domain,))
    entries = tables.each(memo, "entries", kinds.of(ServiceEntry), lambda _, entry: services.of_entry(entry, domain), (domain,))
    return memo.get(("definitions",), (cores, entries), partial(_by_service, memo, cores, entries))


def _by_service(memo: Memo, *declared: Mapping[Key, tuple[Definition, ...]]) -> Mapping[ServiceKey, tuple[Definition, ...]]:
    found: dict[ServiceKey, list[Definition]] = {}
    for definition in (d for table in declared for group in table.values() for d in group):
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


def _changed_registrations(
    before: Inputs, after: Inputs, past: tuple[Groups, Spoken], present: tuple[Groups, Spoken]
) -> dict[str, Workload | None]:
    """Those that said something new, and those of whose group or service something new is said."""
    old, new = before.registrations, after.registrations
    (earlier, spoken_before), (known, spoken_now) = past, present
    changes: dict[str, Workload | None] = {services.registration_id(id_): None for id_ in old.keys() - new.keys()}
    concerned = set(tables.changed(old, new))
    if earlier is not known:
        grouped = (id_ for id_, registration in new.items() if LABEL in registration.labels)
        concerned |= {id_ for id_ in grouped if group_of(new[id_], earlier) is not group_of(new[id_], known)}
    if spoken_before != spoken_now:
        concerned |= {id_ for id_, registration in new.items() if changed(registration, spoken_before, spoken_now)}
    for id_ in sorted(concerned):
        registration = speaking(completed(new[id_], group_of(new[id_], known)), spoken_now)
        changes[services.registration_id(id_)] = services.workload_of_registration(id_, registration)
    return changes


Entries = Mapping[Key, Resource[WorkloadEntry]]


def _changed_entries(old: Entries, new: Entries) -> dict[str, Workload | None]:
    changes: dict[str, Workload | None] = {str(key): None for key in old.keys() - new.keys()}
    for key in tables.changed(old, new):
        entry = new[key]
        changes[str(key)] = services.workload_of_entry(str(key), key.name, key.namespace, entry.spec, entry.labels, entry.at("spec"))
    return changes
