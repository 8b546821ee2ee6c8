"""From a question to records: the rules of every form of name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from dns.name import Name
from dns.rcode import NOERROR, NXDOMAIN, Rcode
from dns.rdatatype import RdataType

from dns import rdatatype
from tulle.compile.catalog import Backend
from tulle.dns import records
from tulle.dns.question import (
    AskAddress,
    AskApex,
    Asked,
    AskHost,
    AskNode,
    AskQuery,
    AskReverse,
    AskService,
    AskVirtual,
    IpAddress,
    Labels,
    parse,
)
from tulle.dns.records import Record
from tulle.dns.rules import Rules
from tulle.dns.zone import Gathered, HostPort, Instance, Machine, Zone, as_address
from tulle.model.service import Health

T = TypeVar("T")
ALIASES = 3
"""How many names in a row may stand for another."""


class Dice(Protocol):
    """Chance (`random.Random` is one)."""

    def sample(self, population: Sequence[T], k: int) -> list[T]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is to be said. Without answers `soa` is added to it."""

    answers: tuple[Record, ...] = ()
    extra: tuple[Record, ...] = ()
    rcode: Rcode = NOERROR
    elsewhere: bool = False
    """The name is not ours: other resolvers know."""
    alias: Name | None = None
    """The answers end with this name, which is not ours."""
    shuffled: bool = False
    """Another throw of the dice may give another order."""
    mesh: bool = False
    """A name of the mesh, not of the registry."""
    gather: AskService | AskNode | AskQuery | None = None
    """This has to be asked for first."""


NOTHING = Found()
NO_SUCH_NAME = Found(rcode=NXDOMAIN)
ELSEWHERE = Found(elsewhere=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """Answers from one zone, under the rules given. `now`, in seconds, is the serial number of the zone."""

    zone: Zone
    rules: Rules
    dice: Dice
    now: int
    gathered: Gathered | None = None
    """What was asked for first."""

    def find(self, name: Name, type_: RdataType, depth: int = 0) -> Found:
        """What there is under a name; `depth` counts the aliases that led here."""
        labels: Labels = tuple(label.decode("utf-8", "replace").lower() for label in name.labels if label)
        asked = parse(labels, self.rules)
        found = self._of(asked, name, type_)
        return self._followed(found, type_, depth)

    def _of(self, asked: Asked, name: Name, type_: RdataType) -> Found:
        match asked:
            case AskService() | AskNode() | AskQuery() if isinstance(asked, AskQuery) or asked.datacenter:
                return self._gathered(asked, name, type_)
            case AskService():
                return self._given(self.instances(asked), name, type_, self.rules.ttl(asked.name))
            case AskNode():
                machine = self.zone.directory.machine(asked.name)
                return self._machine(machine, name, type_) if machine else NO_SUCH_NAME
            case AskAddress():
                return Found(answers=_wanted((Record(name, self.rules.node_ttl, records.address(asked.address)),), type_))
            case AskHost():
                return self._host(asked, name, type_)
            case AskVirtual():
                return self._virtual(asked, name, type_)
            case AskReverse():
                return self._reverse(asked.address, name, type_)
            case AskApex():
                return self._apex(name, type_, server=asked.server)
            case _:
                return NO_SUCH_NAME

    # Services

    def _gathered(self, asked: AskService | AskNode | AskQuery, name: Name, type_: RdataType) -> Found:
        """From what others say, with the names that there are in their datacenter."""
        told = self.gathered
        if told is None or told.asked != asked:
            return Found(gather=asked)
        there = replace(self, rules=replace(self.rules, datacenter=told.datacenter))
        if isinstance(asked, AskNode):
            return there._machine(told.machine, name, type_) if told.machine else NO_SUCH_NAME
        fit = told.instances if isinstance(asked, AskQuery) else self._fit(told.instances, asked)
        service = asked.name if isinstance(asked, AskService) else fit[0].service.lower() if fit else ""
        return there._given(fit, name, type_, self.rules.ttl(service) if told.ttl is None else told.ttl)

    def _given(self, found: tuple[Instance, ...], name: Name, type_: RdataType, ttl: int) -> Found:
        if not found:
            return NO_SUCH_NAME
        mixed = self.dice.sample(found, len(found))
        if type_ == rdatatype.SRV:
            return self._srv(mixed, name, ttl)
        answers = tuple(dict.fromkeys(r for i in mixed for r in self._addresses(i, name, ttl)))
        answers = _wanted(answers, type_)
        if self.rules.a_record_limit:
            answers = answers[: self.rules.a_record_limit]
        if type_ in (rdatatype.TXT, rdatatype.ANY):
            return Found(answers=(*answers, *self._metas(mixed, name)), shuffled=len(found) > 1)
        return Found(answers=answers, extra=tuple(self._metas(mixed)) if answers else (), shuffled=len(found) > 1)

    def instances(self, asked: AskService) -> tuple[Instance, ...]:
        """Those that may be given out."""
        directory = self.zone.directory
        look = directory.connect if asked.connect else directory.ingress if asked.ingress else directory.instances
        return self._fit(look((asked.namespace, asked.name)), asked)

    def _fit(self, instances: Iterable[Instance], asked: AskService) -> tuple[Instance, ...]:
        unfit = (Health.CRITICAL, Health.WARNING) if self.rules.only_passing else (Health.CRITICAL,)
        found = (i for i in instances if i.status not in unfit)
        return tuple(i for i in found if not asked.tag or asked.tag in (tag.lower() for tag in i.tags))

    def _addresses(self, instance: Instance, name: Name, ttl: int) -> Iterator[Record]:
        yield from _at(instance.address or instance.machine.address, name, ttl)

    def _srv(self, instances: Sequence[Instance], name: Name, ttl: int) -> Found:
        answers: list[Record] = []
        extra: list[Record] = []
        seen: set[tuple[str, str, int]] = set()
        for one in instances:
            place = (one.machine.name, one.address, one.port)
            target = self._target(one)
            if place in seen or target is None:
                continue
            seen.add(place)
            weight = one.warning_weight if one.status is Health.WARNING else one.weight
            answers.append(Record(name, ttl, records.srv(weight, one.port, target)))
            if as_address(one.address) or not one.address:
                extra += self._addresses(one, target, ttl)
        return Found(answers=tuple(answers), extra=(*dict.fromkeys(extra), *self._metas(instances)), shuffled=len(answers) > 1)

    def _target(self, instance: Instance) -> Name | None:
        """The name under which an instance's address is found."""
        if not instance.address:
            return self._machine_name(instance.machine)
        ip = as_address(instance.address)
        return self._address_name(ip) if ip else records.name(instance.address)

    def _machine_name(self, machine: Machine) -> Name | None:
        return records.name(f"{machine.name}.node.{self.rules.datacenter}.{self.rules.domain}")

    def _address_name(self, ip: IpAddress) -> Name | None:
        return records.name(f"{ip.packed.hex()}.addr.{self.rules.datacenter}.{self.rules.domain}")

    def _metas(self, instances: Iterable[Instance], name: Name | None = None) -> Iterator[Record]:
        """What is known of the machines of instances, each said once: under the name given, else under the machine's own."""
        if name is None and not self.rules.node_meta_txt:
            return
        for machine in {i.machine.name: i.machine for i in instances}.values():
            if (owner := name or self._machine_name(machine)) is not None:
                yield from self._meta(machine, owner)

    def _meta(self, machine: Machine, name: Name) -> Iterator[Record]:
        for key, value in machine.meta.items():
            text = value if key.lower().startswith("rfc1035-") else f"{key}={value}"
            yield Record(name, self.rules.node_ttl, records.txt(text))

    def _virtual(self, asked: AskVirtual, name: Name, type_: RdataType) -> Found:
        """A name with dots may be the full name of a ServiceEntry's host."""
        hosts = self.zone.hosts
        backend = hosts.find(f"{asked.name}.{asked.namespace}.svc.{self.rules.mesh_domain}") or hosts.find(asked.name)
        own = self.zone.virtual(backend) if backend else ()
        if not own:
            return NO_SUCH_NAME
        return Found(answers=_wanted([Record(name, self.rules.ttl(asked.name), records.address(ip)) for ip in own], type_))

    # Machines

    def _machine(self, machine: Machine, name: Name, type_: RdataType) -> Found:
        answers = _wanted(tuple(_at(machine.address, name, self.rules.node_ttl)), type_)
        told = tuple(self._meta(machine, name))
        if type_ in (rdatatype.TXT, rdatatype.ANY):
            return Found(answers=(*answers, *told))
        return Found(answers=answers, extra=told if answers and self.rules.node_meta_txt else ())

    def _reverse(self, ip: IpAddress, name: Name, type_: RdataType) -> Found:
        owner = self.zone.directory.at(ip)
        if owner is None:
            return ELSEWHERE
        if isinstance(owner, Machine):
            target = self._machine_name(owner)
        else:
            target = records.name(f"{owner.service}.service.{self.rules.datacenter}.{self.rules.domain}")
        answers = (Record(name, 0, records.ptr(target)),) if target and type_ in (rdatatype.PTR, rdatatype.ANY) else ()
        return Found(answers=answers)

    # The domain

    def _apex(self, name: Name, type_: RdataType, *, server: bool) -> Found:
        glue = tuple(_at(self.zone.server.address, name, self.rules.node_ttl))
        if server:
            return Found(answers=_wanted(glue, type_))
        answers = [self.soa()] if type_ in (rdatatype.SOA, rdatatype.ANY) else []
        target = self._machine_name(self.zone.server)
        if target is None or type_ not in (rdatatype.NS, rdatatype.ANY):
            return Found(answers=tuple(answers))
        answers.append(Record(name, self.rules.node_ttl, records.ns(target)))
        return Found(answers=tuple(answers), extra=tuple(_at(self.zone.server.address, target, self.rules.node_ttl)))

    def soa(self, *, mesh: bool = False) -> Record:
        """The start of our authority, which goes along where there is no answer."""
        domain = self.rules.mesh_domain if mesh else self.rules.domain
        owner, server, mailbox = (records.name(text) or Name([b""]) for text in (domain, f"ns.{domain}", f"hostmaster.{domain}"))
        return Record(owner, self.rules.soa_min_ttl, records.soa(server, mailbox, self.now, self.rules.soa_min_ttl))

    # The mesh

    def _host(self, asked: AskHost, name: Name, type_: RdataType) -> Found:
        backend = self.zone.hosts.find(asked.host)
        if backend is None:
            return self._no_host(asked.host, type_) if asked.ours else ELSEWHERE
        if asked.port:
            return self._mesh_srv(asked, backend, name, type_)
        if type_ == rdatatype.SRV:
            return self._mesh_srv(asked, backend, name, type_)
        alias = self.zone.alias(backend)
        if alias:
            return Found(answers=tuple(_at(alias, name, self.rules.mesh_ttl)), mesh=True)
        ips = self.zone.addresses(backend)
        if not ips and not asked.ours:
            # Callers reach it by its own name, which others know.
            return ELSEWHERE
        mixed = self.dice.sample(ips, len(ips))
        answers = _wanted([Record(name, self.rules.mesh_ttl, records.address(ip)) for ip in mixed], type_)
        return Found(answers=answers, shuffled=len(answers) > 1, mesh=True)

    def _no_host(self, host: str, type_: RdataType) -> Found:
        """Names above those of services exist, though nothing is known of them (RFC 8020)."""
        domain = self.rules.mesh_domain
        if host == domain and type_ in (rdatatype.SOA, rdatatype.ANY):
            return Found(answers=(self.soa(mesh=True),), mesh=True)
        above = {domain, f"svc.{domain}", *(f"{space}.svc.{domain}" for space in self.zone.hosts.namespaces)}
        return Found(mesh=True, rcode=NOERROR if host in above else NXDOMAIN)

    def _mesh_srv(self, asked: AskHost, backend: Backend, name: Name, type_: RdataType) -> Found:
        ports = [p for p in self.zone.ports(backend) if not asked.port or (p.name.lower(), p.protocol) == (asked.port, asked.protocol)]
        if not ports:
            return Found(mesh=True, rcode=NXDOMAIN if asked.port else NOERROR)
        if type_ not in (rdatatype.SRV, rdatatype.ANY):
            return Found(mesh=True)
        own = records.name(asked.host) or name
        answers, extra = [], []
        for port in self.dice.sample(ports, len(ports)):
            target, ips = self._mesh_target(port, backend, own)
            answers.append(Record(name, self.rules.mesh_ttl, records.srv(1, port.port, target)))
            extra += [Record(target, self.rules.mesh_ttl, records.address(ip)) for ip in ips]
        return Found(answers=tuple(answers), extra=tuple(dict.fromkeys(extra)), shuffled=len(answers) > 1, mesh=True)

    def _mesh_target(self, port: HostPort, backend: Backend, own: Name) -> tuple[Name, tuple[IpAddress, ...]]:
        if port.address is None:
            return own, self.zone.addresses(backend)
        return self._address_name(port.address) or own, (port.address,)

    # Aliases

    def _followed(self, found: Found, type_: RdataType, depth: int) -> Found:
        """What the name that an answer ends with stands for goes along, where we know it."""
        target = _end(found.answers)
        if target is None or type_ in (rdatatype.CNAME, rdatatype.ANY) or depth >= ALIASES:
            return found
        more = self.find(target, type_, depth + 1)
        if more.elsewhere:
            return replace(found, alias=target)
        if more.gather:
            return found
        return replace(found, answers=(*found.answers, *more.answers), shuffled=found.shuffled or more.shuffled, alias=more.alias)


def _at(place: str, name: Name, ttl: int) -> Iterator[Record]:
    """The address, or the other name, that a name stands for."""
    ip = as_address(place)
    if ip is not None:
        yield Record(name, ttl, records.address(ip))
    elif place and (target := records.name(place)) is not None and target != name:
        yield Record(name, ttl, records.cname(target))


def _wanted(found: Sequence[Record], type_: RdataType) -> tuple[Record, ...]:
    """Those of the type asked for. Another name stands for all types, and only one may stand for a name (RFC 1034, 3.6.2)."""
    fitting = tuple(found) if type_ == rdatatype.ANY else records.of_type(found, type_)
    addresses = tuple(r for r in fitting if r.type != rdatatype.CNAME)
    if addresses:
        return addresses
    other = records.of_type(found, rdatatype.CNAME)
    return other[:1] if type_ in (rdatatype.A, rdatatype.AAAA, rdatatype.ANY, rdatatype.CNAME) else ()


def _end(answers: Sequence[Record]) -> Name | None:
    if len(answers) == 1 and answers[0].type == rdatatype.CNAME:
        target = getattr(answers[0].data, "target", None)
        return target if isinstance(target, Name) else None
    return None
