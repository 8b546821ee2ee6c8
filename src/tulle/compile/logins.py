"""Authentications as what is asked of requests: those of the root namespace and of a workload's own add up, and all must be met."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tulle.compile.attachment import by_namespace, is_for, takes, unused_targets
from tulle.compile.credentials import Credentials
from tulle.compile.disguises import CLIMBING_TARGET, allowed_host
from tulle.compile.passwords import Problem, clients, users
from tulle.compile.sign_in import CLIENT, asks, discovery, sign_in
from tulle.model.identity import Labels
from tulle.model.logins import ApiKeys, KeyPlace, Login, Passwords, Provider, SignIn
from tulle.model.resource import Key, Resource
from tulle.model.routing import Compare, StringMatch
from tulle.model.tls import Hidden
from tulle.resources.core_secret import Secret
from tulle.resources.security.authentication import ApiKeysSpec, Authentication, BasicSpec
from tulle.resources.security.oidc import OidcSpec

Document = Resource[Authentication]
Providers = Mapping[str, Provider]
"""By the URI at which each tells of itself."""
_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Logins:
    """All of the mesh, by namespace, each list from the oldest."""

    root_namespace: str = ""
    by_namespace: Mapping[str, tuple[Document, ...]] = field(default_factory=dict)
    secrets: Credentials = field(default_factory=dict)
    """Those that the documents name, as far as they are there."""
    providers: Providers | None = None
    unfetched: Mapping[str, str] = field(default_factory=dict)
    """By URI, why what a provider tells could not be fetched."""
    provider_uris: Mapping[str, float] = field(default_factory=dict)
    """Where providers are to be asked, each with the seconds that it may take."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that proxies may ask."""
        return tuple(_name(document) for documents in self.by_namespace.values() for document in documents)

    def at(self, namespace: str, labels: Labels, service: str = "") -> tuple[Login, ...]:
        """What is asked of requests to a workload of a service. Nobody signs in there: what chooses it all the same lets nobody in."""
        found = (d for d in self._taking(namespace, labels, service) if not d.spec.oidc or d.spec.selector or d.spec.targets)
        return tuple(replace(self._login(d), by=NOBODY) if d.spec.oidc else self._login(d) for d in found)

    def at_edge(self, namespace: str, labels: Labels, served: Mapping[Key, frozenset[str]]) -> tuple[Login, ...]:
        """For a port that serves the hosts of some Gateways: what names some of them is asked for their hosts alone."""
        made = [self._login(document) for document in self._taking(namespace, labels)]
        for document in self._in(*(gateway.namespace for gateway in served)):
            if named := [gateway for gateway in served if is_for(document, gateway)]:
                hosts = frozenset(host for gateway in named for host in served[gateway])
                made.append(self._login(document, hosts if len(named) < len(served) and "*" not in hosts else frozenset()))
        return tuple(made)

    def _taking(self, namespace: str, labels: Labels, service: str = "") -> Iterator[Document]:
        return (d for d in self._in(self.root_namespace, namespace) if takes(d, namespace, labels, service))

    def _in(self, *namespaces: str) -> Iterator[Document]:
        return (document for namespace in dict.fromkeys(namespaces) for document in self.by_namespace.get(namespace, ()))

    def _login(self, of: Document, hosts: frozenset[str] = frozenset()) -> Login:
        spec = of.spec
        header, forward = _handed_on(of.spec)
        return Login(
            name=_name(of),
            by=self._by(of),
            told_by=header.lower(),
            forward=forward,
            excluded=tuple(map(_path, spec.excluded_paths)),
            never_excluded=(CLIMBING_TARGET,) if any(path.endswith("*") for path in spec.excluded_paths) else (),
            hosts=tuple(filter(None, map(allowed_host, sorted(hosts)))),
            source=of.at("spec"),
        )

    def secret(self, of: Document) -> Secret | None:
        """What a document names; None while it is not there."""
        found = self.secrets.get(_place(of))
        return found.spec if found else None

    def provider(self, spec: OidcSpec) -> Provider | None:
        """What the provider told of itself; None while it has not."""
        return (self.providers or {}).get(discovery(spec.issuer)) if spec.issuer else None

    def _by(self, of: Document) -> ApiKeys | Passwords | SignIn:
        secret = self.secret(of)
        if spec := of.spec.oidc:
            return sign_in(of, spec, secret, self.provider(spec)) or NOBODY
        return _keys(of.spec.api_keys, secret) if of.spec.api_keys else _passwords(of.spec.basic, secret)


NOBODY = ApiKeys(clients=(), places=(KeyPlace(header="x-api-key"),))
"""Every caller is answered 401."""
NO_LOGINS = Logins()


def _name(of: Document) -> str:
    return f"{of.key.namespace}/{of.key.name}"


def named(documents: Iterable[Document]) -> tuple[tuple[str, str], ...]:
    """Namespace and name of the Secrets that they need."""
    return tuple(dict.fromkeys(map(_place, documents)))


def logins(
    documents: Iterable[Document], root_namespace: str, secrets: Credentials, providers: Providers | None, unfetched: Mapping[str, str]
) -> Logins:
    """The Authentications of a mesh, which come from the oldest."""
    every = tuple(documents)
    issuers = (spec.issuer for document in every if (spec := document.spec.oidc) and asks(spec))
    return Logins(
        root_namespace=root_namespace,
        by_namespace=by_namespace(every),
        secrets={place: secrets[place] for place in named(every) if place in secrets},
        providers=providers,
        unfetched=unfetched,
        provider_uris={discovery(issuer): _TIMEOUT for issuer in issuers if issuer},
    )


def unmet(of: Logins, document: Document) -> Iterator[tuple[str, str]]:
    """What of a document is not in force, and who is not let in: field and reason. Nothing of keys and passwords is told."""
    yield from unused_targets(document)
    spec, secret, (namespace, name) = document.spec, of.secret(document), _place(document)
    place = "spec.apiKeys.secret" if spec.api_keys else "spec.basic.secret" if spec.basic else "spec.oidc.secret"
    if secret is None:
        yield place, f"there is no Secret {name} in namespace {namespace}: nobody is let in until it is there"
        return
    if spec.oidc:
        yield from _unmet_sign_in(of, document, spec.oidc, secret)
        return
    found: tuple[tuple[object, ...], tuple[Problem, ...]] = clients(secret) if spec.api_keys else users(secret)
    yield from ((place, f"Secret {name}: {problem}") for problem in found[1])
    if not found[0]:
        yield place, f"Secret {name} names nobody: nobody is let in"


def _unmet_sign_in(of: Logins, document: Document, spec: OidcSpec, secret: Secret) -> Iterator[tuple[str, str]]:
    if not secret.entries.get(CLIENT, Hidden(b"")).reveal().strip():
        yield "spec.oidc.secret", f"Secret {spec.secret} has no entry {CLIENT}: nobody is let in until it is there"
    if (uri := asks(spec)) and of.providers is not None and uri not in of.providers:
        why = of.unfetched.get(uri, "it was not asked yet")
        yield "spec.oidc.issuer", f"the provider tells nothing of itself at {uri} ({why}): nobody is let in until it does"
    for index, target in enumerate(document.spec.targets):
        if target.kind == "Service":
            where = "spec.targetRef" if document.spec.target_ref else f"spec.targetRefs[{index}]"
            yield where, "people sign in at gateways: nobody is let in here"


def _place(of: Document) -> tuple[str, str]:
    said = of.spec.api_keys or of.spec.basic or of.spec.oidc
    return of.key.namespace, said.secret if said else ""


def _handed_on(spec: Authentication) -> tuple[str, bool]:
    """The header that tells who calls, and whether the endpoint gets what the caller showed."""
    match spec.api_keys or spec.basic or spec.oidc:
        case OidcSpec() as oidc:
            return oidc.id_token_header or "", False
        case ApiKeysSpec() as keys:
            return keys.client_header or "", keys.forward_key
        case BasicSpec() as basic:
            return basic.user_header or "", basic.forward_password
    return "", False


def _keys(spec: ApiKeysSpec, secret: Secret | None) -> ApiKeys:
    places = (KeyPlace(header=(p.header or "").lower(), query=p.query or "", cookie=p.cookie or "") for p in spec.from_)
    return ApiKeys(clients=clients(secret)[0], places=tuple(places))


def _passwords(spec: BasicSpec | None, secret: Secret | None) -> Passwords:
    return Passwords(users=users(secret)[0], realm=spec.realm if spec else "")


def _path(written: str) -> StringMatch:
    if written.endswith("*"):
        return StringMatch(compare=Compare.PREFIX, value=written[:-1])
    return StringMatch(compare=Compare.REGEX, value=rf"{re.escape(written)}(\?.*)?")
