"""The one table of the kinds of documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tulle.model.resource import Key
from tulle.resources import consul
from tulle.resources import gatewayapi as api
from tulle.resources.core import KubernetesService, Namespace
from tulle.resources.core_config_map import FIELDS as CONFIG_MAP_FIELDS
from tulle.resources.core_config_map import ConfigMap
from tulle.resources.core_secret import FIELDS as SECRET_FIELDS
from tulle.resources.core_secret import Secret
from tulle.resources.meshfile import KIND, Mesh
from tulle.resources.networking import (
    DestinationRule,
    EnvoyFilter,
    Gateway,
    ProxyConfig,
    ServiceEntry,
    Sidecar,
    VirtualService,
    WorkloadEntry,
    WorkloadGroup,
)
from tulle.resources.security import (
    Authentication,
    AuthorizationPolicy,
    Certificate,
    Firewall,
    Guard,
    PeerAuthentication,
    RateLimit,
    RequestAuthentication,
    Transcoding,
)
from tulle.resources.spec import Spec
from tulle.resources.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of document that users write."""

    name: str
    """As in keys: `VirtualService`, or `Gateway.gateway.networking.k8s.io` for one whose plain name is another group's already."""
    plural: str
    short: tuple[str, ...] = ()
    group: str = ""
    """Empty for Kubernetes' core."""
    versions: tuple[str, ...]
    """All versions have the same schema; the first is today's."""
    spec: type[Spec]
    body: tuple[str, ...] = ("spec",)
    """The fields of a document that say something. What the specification models, where that is not `spec` alone."""
    required: bool = True
    """Whether its documents must have a `spec`."""
    cluster: bool = False
    """Its documents belong to no namespace; their keys have an empty one."""

    @property
    def kind(self) -> str:
        """As documents write it."""
        return self.name.partition(".")[0]

    @property
    def api_versions(self) -> tuple[str, ...]:
        return tuple(f"{self.group}/{version}" if self.group else version for version in self.versions)

    def names(self) -> tuple[str, ...]:
        """All that a user may call the kind, in lower case."""
        return tuple(dict.fromkeys((self.kind.lower(), self.plural, *self.short)))

    def key(self, namespace: str, name: str) -> Key:
        return Key(kind=self.name, namespace="" if self.cluster else namespace, name=name)


_ISTIO = "networking.istio.io"
_VERSIONS = ("v1", "v1beta1", "v1alpha3")
_GATEWAY, _GATEWAY_X = "gateway.networking.k8s.io", "gateway.networking.x-k8s.io"
_NOW = ("v1", "v1beta1", "v1alpha2")
_SECURITY = "security.istio.io"
_CONSUL = "consul.hashicorp.com"
_TULLE = "tulle.dev"


def _of_consul() -> Iterable[Kind]:
    """Also found by the names that Consul's API has for them: `service-router`."""
    specs: tuple[type[Spec], ...] = (
        consul.ServiceDefaults,
        consul.ServiceRouter,
        consul.ServiceSplitter,
        consul.ServiceResolver,
        consul.ServiceIntentions,
        consul.ProxyDefaults,
    )
    for spec in specs:
        name = spec.__name__
        plural = name.lower() if name.endswith("s") else f"{name.lower()}s"
        yield Kind(name=name, plural=plural, short=(consul.api_name(name),), group=_CONSUL, versions=("v1alpha1",), spec=spec)


KINDS = (
    Kind(name="VirtualService", plural="virtualservices", short=("vs",), group=_ISTIO, versions=_VERSIONS, spec=VirtualService),
    Kind(name="DestinationRule", plural="destinationrules", short=("dr",), group=_ISTIO, versions=_VERSIONS, spec=DestinationRule),
    Kind(name="Gateway", plural="gateways", short=("gw",), group=_ISTIO, versions=_VERSIONS, spec=Gateway),
    Kind(name="ServiceEntry", plural="serviceentries", short=("se",), group=_ISTIO, versions=_VERSIONS, spec=ServiceEntry),
    Kind(name="WorkloadEntry", plural="workloadentries", short=("we",), group=_ISTIO, versions=_VERSIONS, spec=WorkloadEntry),
    Kind(name="WorkloadGroup", plural="workloadgroups", short=("wg",), group=_ISTIO, versions=_VERSIONS, spec=WorkloadGroup),
    Kind(name="ProxyConfig", plural="proxyconfigs", short=("pc",), group=_ISTIO, versions=("v1beta1",), spec=ProxyConfig),
    Kind(name="Telemetry", plural="telemetries", group="telemetry.istio.io", versions=("v1", "v1alpha1"), spec=Telemetry),
    Kind(name="EnvoyFilter", plural="envoyfilters", group=_ISTIO, versions=("v1alpha3",), spec=EnvoyFilter),
    Kind(name="Sidecar", plural="sidecars", group=_ISTIO, versions=_VERSIONS, spec=Sidecar),
    Kind(name="PeerAuthentication", plural="peerauthentications", short=("pa",), group=_SECURITY, versions=_NOW, spec=PeerAuthentication),
    Kind(
        name="AuthorizationPolicy", plural="authorizationpolicies", short=("ap",), group=_SECURITY, versions=_NOW, spec=AuthorizationPolicy
    ),
    Kind(
        name="RequestAuthentication",
        plural="requestauthentications",
        short=("ra",),
        group=_SECURITY,
        versions=_NOW,
        spec=RequestAuthentication,
    ),
    Kind(name="Authentication", plural="authentications", short=("auth",), group=_TULLE, versions=("v1",), spec=Authentication),
    Kind(name="Certificate", plural="certificates", short=("cert", "certs"), group=_TULLE, versions=("v1",), spec=Certificate),
    Kind(name="Firewall", plural="firewalls", group=_TULLE, versions=("v1",), spec=Firewall),
    Kind(name="Guard", plural="guards", group=_TULLE, versions=("v1",), spec=Guard),
    Kind(name="RateLimit", plural="ratelimits", short=("rl",), group=_TULLE, versions=("v1",), spec=RateLimit),
    Kind(name="Transcoding", plural="transcodings", group=_TULLE, versions=("v1",), spec=Transcoding),
    Kind(name="Service", plural="services", short=("svc",), versions=("v1",), spec=KubernetesService),
    Kind(name="ConfigMap", plural="configmaps", short=("cm",), versions=("v1",), spec=ConfigMap, body=CONFIG_MAP_FIELDS),
    Kind(name="Namespace", plural="namespaces", short=("ns",), versions=("v1",), spec=Namespace, required=False, cluster=True),
    Kind(name="GatewayClass", plural="gatewayclasses", short=("gc",), group=_GATEWAY, versions=_NOW, spec=api.GatewayClass, cluster=True),
    Kind(name=f"Gateway.{_GATEWAY}", plural="gateways", short=("gtw", "gw"), group=_GATEWAY, versions=_NOW, spec=api.Gateway),
    Kind(name="ListenerSet", plural="listenersets", short=("lset",), group=_GATEWAY, versions=("v1",), spec=api.ListenerSet),
    Kind(name="HTTPRoute", plural="httproutes", group=_GATEWAY, versions=_NOW, spec=api.HttpRoute),
    Kind(name="GRPCRoute", plural="grpcroutes", group=_GATEWAY, versions=("v1", "v1alpha2"), spec=api.GrpcRoute),
    Kind(name="TLSRoute", plural="tlsroutes", group=_GATEWAY, versions=("v1", "v1alpha3", "v1alpha2"), spec=api.TlsRoute),
    Kind(name="TCPRoute", plural="tcproutes", group=_GATEWAY, versions=("v1", "v1alpha2"), spec=api.TcpRoute),
    Kind(name="UDPRoute", plural="udproutes", group=_GATEWAY, versions=("v1", "v1alpha2"), spec=api.UdpRoute),
    Kind(name="ReferenceGrant", plural="referencegrants", short=("refgrant",), group=_GATEWAY, versions=_NOW, spec=api.ReferenceGrant),
    Kind(
        name="BackendTLSPolicy",
        plural="backendtlspolicies",
        short=("btlspolicy",),
        group=_GATEWAY,
        versions=("v1", "v1alpha3"),
        spec=api.BackendTlsPolicy,
    ),
    Kind(
        name="XBackendTrafficPolicy",
        plural="xbackendtrafficpolicies",
        short=("xbtrafficpolicy",),
        group=_GATEWAY_X,
        versions=("v1alpha1",),
        spec=api.BackendTrafficPolicy,
    ),
    *_of_consul(),
    Kind(name="Secret", plural="secrets", versions=("v1",), spec=Secret, body=SECRET_FIELDS),
)
"""What may be applied."""

MESH_FILE = Kind(name=KIND, plural="meshes", group=_TULLE, versions=("v1",), spec=Mesh)
"""What `tulle up` starts; it is not applied."""

_BY_KIND = {kind.name: kind for kind in KINDS}


def kind_of(name: str) -> Kind | None:
    """The kind with exactly this name, as in a key."""
    return _BY_KIND.get(name)


def kind_in(api_version: str, kind: str) -> Kind | None:
    """The kind of a document, by what it says of itself."""
    return next((known for known in kinds_called(kind) if api_version in known.api_versions), None)


def kinds_called(kind: str) -> tuple[Kind, ...]:
    """All kinds with a plain name, in whatever group."""
    return tuple(known for known in KINDS if known.kind == kind)


def find_kinds(word: str) -> tuple[Kind, ...]:
    """The kinds that a user means by `vs`, `virtualservices`, `VirtualService` or `virtualservices.networking.istio.io`."""
    name, _, group = word.lower().partition(".")
    return tuple(kind for kind in KINDS if name in kind.names() and group in ("", kind.group))


def find_kind(word: str) -> Kind | None:
    """The one kind that a user means; the first in the table where there are more."""
    return next(iter(find_kinds(word)), None)
