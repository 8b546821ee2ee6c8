"""Which certificates and keys stand behind the names that rules write, and under which names proxies ask for them.

The names are Istio's. Each says by itself what is meant, so that a view needs no more than the names in its listeners and clusters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from tulle.model.frozen import FrozenMap
from tulle.model.resource import Resource, Source
from tulle.model.tls import SYSTEM_ROOTS, Authority, Certificate, DownstreamTls, Hidden, UpstreamTls
from tulle.model.tls import Secret as Held
from tulle.resources.core_config_map import ROOTS as CA
from tulle.resources.core_config_map import ConfigMap
from tulle.resources.core_secret import Secret

Credentials = Mapping[tuple[str, str], Resource[Secret]]
"""By namespace and name."""

_OWN, _OTHER, _PAIR, _ROOT = "kubernetes://", "kubernetes-gateway://", "file-cert:", "file-root:"
_SEVERAL = "kubernetes-bundle://"
"""Several authorities as one, each as `NAMESPACE/NAME`, with commas between."""
_AUTHORITY = "-cacert"
"""Behind the name of a credential: its authority's part. A Secret of that very name may hold it, too."""


def config_map(name: str) -> str:
    """What stands for a ConfigMap among the names of Secrets; no Secret is called so."""
    return f"configmap/{name}"


def of_config_maps(found: Iterable[Resource[ConfigMap]]) -> Iterator[tuple[tuple[str, str], Resource[Secret]]]:
    """Those with certificates of authorities, as if they were Secrets."""
    for resource in found:
        if roots := resource.spec.data.get(CA):
            spec = Secret.model_construct(string_data=FrozenMap({CA: Hidden(roots.encode())}))
            yield (resource.key.namespace, config_map(resource.key.name)), replace(cast("Resource[Any]", resource), spec=spec)


def files(chain: str, key: str) -> str:
    """The name of a certificate in files of the proxy's machine."""
    return f"{_PAIR}{chain}~{key}"


def root_file(path: str, revoked: str = "") -> str:
    """The name of an authority in a file of the proxy's machine; `system` means those that the machine trusts.

    `revoked`: a file beside it with certificates that are trusted no more; only for one in a file of its own.
    """
    if path == "system":
        return SYSTEM_ROOTS
    return f"{_ROOT}{path}~{revoked}" if revoked else f"{_ROOT}{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The credentials that a proxy may have: those of its own namespace, and of others where a rule of that namespace names them."""

    credentials: Credentials
    namespace: str

    def certificate(self, name: str, *more: str) -> str:
        """By what name a proxy asks for the certificate of a credential. `more`: namespaces to look in after its own. Empty: not there."""
        return next((self._name(ns, name) for ns in self._places(more) if self._certified(ns, name)), "")

    def authority(self, name: str, *more: str) -> str:
        """The same for those who sign: in the Secret NAME-cacert, else in the Secret NAME."""
        places = ((ns, secret) for ns in self._places(more) for secret in (f"{name}{_AUTHORITY}", name))
        return next((f"{self._name(ns, name)}{_AUTHORITY}" for ns, secret in places if self._roots(ns, secret)), "")

    def certificate_at(self, namespace: str, name: str) -> str:
        """As `certificate`, for a credential of this very namespace. Whether the one who names it may do so is for the caller to know."""
        return self._name(namespace, name) if self._certified(namespace, name) else ""

    def authority_at(self, namespace: str, name: str) -> str:
        """As `authority`, for a credential of this very name and namespace."""
        return f"{self._name(namespace, name)}{_AUTHORITY}" if self._roots(namespace, name) else ""

    def authorities_at(self, places: Iterable[tuple[str, str]]) -> str:
        """As `authority_at`, for several at once: a certificate of any of them is trusted. Those that are not there are left out."""
        found = tuple(dict.fromkeys(place for place in places if self._roots(*place)))
        if len(found) < 2:
            return self.authority_at(*found[0]) if found else ""
        return _SEVERAL + ",".join("/".join(place) for place in found)

    def behind(self, names: Iterable[str]) -> tuple[object, ...]:
        """All that a look-up of these credentials depends on, by identity."""
        looked = (*((self.namespace, n) for n in names), *((self.namespace, f"{n}{_AUTHORITY}") for n in names))
        return tuple(self.credentials.get(place) for place in looked)

    def held(self, users: Iterable[DownstreamTls | UpstreamTls | None]) -> tuple[Held, ...]:
        """What stands behind all names in use, each once."""
        found: dict[str, Held] = {}
        for user in users:
            if user is not None:
                found.update((held.name, held) for held in self._of(user))
        return tuple(found[name] for name in sorted(found))

    def _of(self, user: DownstreamTls | UpstreamTls) -> Iterator[Held]:
        own = user.certificates if isinstance(user, DownstreamTls) else (user.certificate,)
        yield from (held for name in own if name and (held := self._certificate(name)))
        authority = user.trust.authority if user.trust else ""
        if authority and authority != SYSTEM_ROOTS and (root := self._authority(authority)):
            yield root

    def _certificate(self, name: str) -> Certificate | None:
        if name.startswith(_PAIR):
            chain, _, key = name.removeprefix(_PAIR).partition("~")
            return Certificate(name=name, chain=chain, key=key)
        resource = self.credentials.get(self._parsed(name))
        if resource is None or resource.spec.chain is None or resource.spec.key is None:
            return None
        return Certificate(name=name, chain=resource.spec.chain, key=resource.spec.key, sources=_sources(resource))

    def _authority(self, name: str) -> Authority | None:
        if name.startswith(_ROOT):
            path, _, revoked = name.removeprefix(_ROOT).partition("~")
            return Authority(name=name, roots=path, revoked=revoked or None)
        if name.startswith(_SEVERAL):
            return self._united(name)
        namespace, written = self._parsed(name)
        for candidate in (written, written.removesuffix(_AUTHORITY)):
            resource = self.credentials.get((namespace, candidate))
            if resource is not None and resource.spec.roots is not None:
                return Authority(name=name, roots=resource.spec.roots, revoked=resource.spec.revoked, sources=_sources(resource))
        return None

    def _united(self, name: str) -> Authority | None:
        """Where one of them brings a list of certificates that are trusted no more, the proxy wants one of each."""
        places = (tuple(part.split("/", 1)) for part in name.removeprefix(_SEVERAL).split(","))
        found = [r for namespace, own in places if (r := self.credentials.get((namespace, own))) and r.spec.roots]
        roots = b"\n".join(r.spec.roots.reveal() for r in found if r.spec.roots)
        revoked = b"\n".join(r.spec.revoked.reveal() for r in found if r.spec.revoked)
        sources = tuple(source for r in found for source in _sources(r))
        return Authority(name=name, roots=Hidden(roots), revoked=Hidden(revoked) if revoked else None, sources=sources) if found else None

    def _places(self, more: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.namespace, *more)))

    def _name(self, namespace: str, name: str) -> str:
        return f"{_OWN}{name}" if namespace == self.namespace else f"{_OTHER}{namespace}/{name}"

    def _parsed(self, name: str) -> tuple[str, str]:
        if name.startswith(_OWN):
            return self.namespace, name.removeprefix(_OWN)
        namespace, _, plain = name.removeprefix(_OTHER).partition("/")
        return namespace, plain

    def _certified(self, namespace: str, name: str) -> bool:
        resource = self.credentials.get((namespace, name))
        return bool(resource and resource.spec.chain and resource.spec.key)

    def _roots(self, namespace: str, name: str) -> bool:
        resource = self.credentials.get((namespace, name))
        return bool(resource and resource.spec.roots)


def _sources(resource: Resource[Secret]) -> tuple[Source, ...]:
    return (resource.at("data"),)
