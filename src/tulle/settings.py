"""What the operator chose, read once at start, with every mistake reported at once.

Each setting has an environment variable (`TULLE_STORE`) and, on the commands that use it, an option (`--store`), which wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from tulle import setting_texts as texts
from tulle.model.mesh import MeshSettings
from tulle.reach import Reach
from tulle.setting_texts import Address

__all__ = ["Address", "Settings", "SettingsError", "read_settings"]

PREFIX = "TULLE_"
_OF_CERTIFICATE = 0.4
"""Of a certificate's life: what it has left when it is replaced is a little more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that a control plane needs to know before it starts."""

    store: str = ""
    """`sqlite:PATH`; empty for a database in the state directory."""
    state_dir: str = ""
    """Where the database lies; empty for `$XDG_STATE_HOME/tulle`, else `~/.local/state/tulle`."""
    encryption_key_file: str = ""
    """Keys that the database is encrypted with; empty for one that is made beside it."""
    api: Address = Address(host="127.0.0.1", port=8500)
    api_tokens: str = "auto"
    """Whether requests to `/api/v1` need a token: `required`, `off`, or `auto`: where the API can be reached from other machines."""
    api_tls: str = "auto"
    """`on`, `off`, or `auto`: where the API can be reached from other machines, or has a certificate of your own."""
    api_cert: str = ""
    """PEM file of your own certificate for the API, with all that is between it and its root; empty for one of the mesh's authority."""
    api_key: str = ""
    """PEM file of its key."""
    api_names: tuple[str, ...] = ()
    """More names and addresses by which others reach the control plane, for the certificate of the mesh's authority."""
    ca_file: str = ""
    """PEM file of the roots by which this control plane knows those of other datacenters; empty for the machine's."""
    xds: Address = Address(host="127.0.0.1", port=15010)
    xds_tls: str = "auto"
    """`on`, `off`, or `auto`: where proxies connect from other machines. With it, only proxies of members of the mesh are let in."""
    dns: Address | None = Address(host="127.0.0.1", port=8600)
    """Where names are answered; None (`off`) for nowhere."""
    dns_required: bool = False
    """The address was asked for: it is an error if it cannot be had. Otherwise a warning will do."""
    dns_recursors: tuple[Address, ...] = ()
    """Resolvers that are asked about all other names."""
    dns_domain: str = "consul"
    dns_alt_domain: str = ""
    """A second name for that domain."""
    dns_node_ttl: int = 0
    """Seconds that others may remember an answer for; likewise the next."""
    dns_service_ttl: tuple[tuple[str, int], ...] = ()
    """By service name; `web*` stands for all that begin so."""
    dns_soa_min_ttl: int = 0
    """Seconds that others may remember that there is no such name."""
    dns_node_meta_txt: bool = True
    """Whether the metadata of machines go along as TXT records with names of machines and instances."""
    dns_only_passing: bool = False
    """Whether instances with a warning are left out."""
    dns_truncate: bool = False
    """Whether a client is told that an answer over UDP is not complete."""
    dns_udp_answer_limit: int = 3
    dns_a_record_limit: int = 0
    datacenter: str = "dc1"
    """What names and clients of Consul's API are told of the place where this is."""
    join_wan: tuple[tuple[str, str], ...] = ()
    """Other datacenters, each with the address of its control plane: `host:port`, or `https://host:port`."""
    node: str = ""
    """The name of this machine; empty for its host name."""
    enable_script_checks: bool = False
    """Whether checks that are registered over the API may run programs on this machine."""
    enable_local_script_checks: bool = False
    """Whether checks in definition files may."""
    rate_limit_store: str = field(default="", repr=False)
    """Where global rate limits are counted: `redis://`, `rediss://` or `unix://` of a Redis or Valkey, which may hold a password.

    Empty for the memory of the control plane.
    """
    node_timeout: float = 10.0
    """Seconds without a report after which an agent, and a machine with no other, counts as failed."""
    node_reap: float = 72 * 3600.0
    """Seconds without a report after which a failed machine leaves the catalog."""
    config_dir: str = ""
    """Directory of definition files; empty for none."""
    acl: str = "auto"
    """What clients of Consul's API may do that no rule speaks of: `allow` or `deny`; `off` to control no access at all.

    `auto`: as `consul_acl` has it.
    """
    domain: str = "cluster.local"
    trust_domain: str = ""
    """Of the identities of workloads; empty for `domain`."""
    trust_domain_aliases: tuple[str, ...] = ()
    """Trust domains that count as this one; the same authority stands behind them."""
    mutual_tls: str = "auto"
    """`on`, `off`, or `auto`: on where proxies connect over TLS or loopback alone, as each is sent its key over that connection."""
    federation: tuple[tuple[str, str], ...] = ()
    """Other trust domains, each with the file of its roots."""
    fetch_allow: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks in which documents may make the control plane ask, beside all that hold no credentials: this machine, say, where the API
    can be reached from others."""
    ca_dir: str = ""
    """Folder of your own authority (root-cert.pem, ca-cert.pem, ca-key.pem, cert-chain.pem); empty for one made at first start."""
    join_ca: str = ""
    """PEM file of the authority whose certificates let machines join; empty where only tokens do."""
    join_gateway: tuple[str, ...] = ()
    """Workloads (`NAMESPACE/SERVICE_ACCOUNT`) whose certificates of that authority are good for gateways, too."""
    certificate_life: timedelta = timedelta(hours=24)
    """How long a workload's certificate holds; it is renewed at half of that."""
    jwt_issuer: str = ""
    """Who the JSON Web Tokens of workloads say that they are from: a URL; empty for `spiffe://` and the trust domain."""
    connection_life: timedelta | None = None
    """After so long at most a connection ends that began with the mesh's certificates. None: before those end; zero: never."""
    root_namespace: str = "istio-system"
    outbound: str = "ALLOW_ANY"
    """`ALLOW_ANY` or `REGISTRY_ONLY`: whether workloads may call hosts that the mesh does not know."""
    log_level: str = "info"
    log_format: str = "text"
    """`text` or `json`."""

    @property
    def needs_tokens(self) -> bool:
        return self.api_tokens == "required" or (self.api_tokens == "auto" and not self.api.is_loopback)

    @property
    def consul_acl(self) -> str:
        """`allow`, `deny` or `off`. Where nothing else is said, Consul's API asks for tokens wherever Tulle's own does."""
        if self.acl != "auto":
            return self.acl
        return "deny" if self.needs_tokens else "allow"

    @property
    def api_is_tls(self) -> bool:
        return self.api_tls == "on" or (self.api_tls == "auto" and (not self.api.is_loopback or bool(self.api_cert)))

    @property
    def xds_is_tls(self) -> bool:
        return self.xds_tls == "on" or (self.xds_tls == "auto" and not self.xds.is_loopback)

    @property
    def reach(self) -> Reach:
        """Whom documents may make the control plane ask: itself only where nobody on other machines can write any."""
        return Reach(loopback=self.api.is_loopback, allowed=self.fetch_allow)

    @property
    def mesh(self) -> MeshSettings:
        return MeshSettings(
            domain=self.domain,
            trust_domain=self.trust_domain,
            trust_domain_aliases=self.trust_domain_aliases,
            mutual_tls=self.mutual_tls == "on" or (self.mutual_tls == "auto" and (self.xds_is_tls or self.xds.is_loopback)),
            federated=tuple(domain for domain, _ in self.federation),
            jwt_issuer=self.jwt_issuer,
            connection_life=self._connection_life or None,
            root_namespace=self.root_namespace,
            allow_any=self.outbound == "ALLOW_ANY",
            intended=self.acl != "deny",
        )

    @property
    def _connection_life(self) -> timedelta:
        """Certificates are replaced at about half of their life: nothing that begins with one is then to go on when it ends."""
        return self.certificate_life * _OF_CERTIFICATE if self.connection_life is None else self.connection_life

    def database(self, environment: Mapping[str, str]) -> str:
        """The path of the SQLite database."""
        if self.store:
            return self.store.removeprefix("sqlite:")
        home = environment.get("XDG_STATE_HOME") or environment.get("HOME", ".") + "/.local/state"
        return f"{self.state_dir or home + '/tulle'}/tulle.db"


class SettingsError(ValueError):
    """One or more settings cannot be used. The message has a line for each."""


_READERS: Mapping[str, Callable[[str], Any]] = {
    "store": texts.store,
    "state_dir": str,
    "encryption_key_file": str,
    "api": Address.parse,
    "api_tokens": texts.one_of("auto", "required", "off"),
    "api_tls": texts.one_of("auto", "on", "off"),
    "api_cert": str,
    "api_key": str,
    "api_names": texts.hosts,
    "ca_file": str,
    "xds": Address.parse,
    "xds_tls": texts.one_of("auto", "on", "off"),
    "dns": texts.dns,
    "dns_recursors": texts.recursors,
    "dns_domain": texts.domain,
    "dns_alt_domain": texts.domain,
    "dns_node_ttl": texts.count,
    "dns_service_ttl": texts.times,
    "dns_soa_min_ttl": texts.count,
    "dns_node_meta_txt": texts.flag,
    "dns_only_passing": texts.flag,
    "dns_truncate": texts.flag,
    "dns_udp_answer_limit": texts.count,
    "dns_a_record_limit": texts.count,
    "datacenter": texts.datacenter,
    "join_wan": texts.wan,
    "node": texts.name,
    "enable_script_checks": texts.flag,
    "enable_local_script_checks": texts.flag,
    "rate_limit_store": texts.redis,
    "node_timeout": texts.seconds,
    "node_reap": texts.seconds,
    "config_dir": str,
    "acl": texts.one_of("off", "allow", "deny", "auto"),
    "domain": texts.name,
    "trust_domain": texts.trust_domain,
    "trust_domain_aliases": texts.trust_domains,
    "mutual_tls": texts.one_of("auto", "on", "off"),
    "federation": texts.federation,
    "fetch_allow": texts.networks,
    "ca_dir": str,
    "join_ca": str,
    "join_gateway": texts.workloads,
    "certificate_life": texts.life,
    "jwt_issuer": texts.issuer,
    "connection_life": texts.connection_life,
    "root_namespace": texts.name,
    "outbound": texts.one_of("ALLOW_ANY", "REGISTRY_ONLY"),
    "log_level": texts.one_of("debug", "info", "warning", "error"),
    "log_format": texts.one_of("text", "json"),
}


def _own_federated(values: Mapping[str, Any]) -> list[str]:
    """The mesh's own authority alone speaks for its own trust domains, and each other domain has one bundle."""
    given = Settings(**{name: values[name] for name in ("domain", "trust_domain", "trust_domain_aliases", "federation") if name in values})
    known, mistakes = set(given.mesh.trust_domains), []
    for domain, _ in given.federation:
        if domain in known:
            why = "the mesh's own trust domain" if domain in given.mesh.trust_domains else "given twice"
            mistakes.append(f"federation (TULLE_FEDERATION): {domain} is {why}")
        known.add(domain)
    return mistakes


def read_settings(environment: Mapping[str, str], options: Mapping[str, str | None] | None = None) -> Settings:
    """Settings from the environment, overridden by the options that are not None. Raises SettingsError naming every mistake."""
    chosen = {name: environment[PREFIX + name.upper()] for name in _READERS if PREFIX + name.upper() in environment}
    chosen |= {name: value for name, value in (options or {}).items() if value is not None}
    values: dict[str, Any] = {}
    mistakes = []
    for name, text in chosen.items():
        try:
            values[name] = _READERS[name](text)
        except ValueError as error:
            mistakes.append(f"{name.replace('_', '-')} ({PREFIX}{name.upper()}): {error}")
    if bool(values.get("api_cert")) != bool(values.get("api_key")):
        mistakes.append("api-cert, api-key (TULLE_API_CERT, TULLE_API_KEY): one is of no use without the other")
    mistakes += _own_federated(values)
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return Settings(**values, dns_required="dns" in values)
