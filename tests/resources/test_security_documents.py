"""The kinds of Istio's security API: what is read, and what is said of mistakes."""

from __future__ import annotations

import pytest

from support.reading import spec_of, warned, wrong
from tulle.resources.security.authorization_policy import Action
from tulle.resources.security.peer_authentication import MtlsMode

SECURITY = "security.istio.io/v1"
ALL_OF_A_SOURCE = """
principals: [cluster.local/ns/a/sa/b, "*/sa/c"]
notPrincipals: ["*"]
requestPrincipals: [iss/sub]
notRequestPrincipals: [x*]
namespaces: [a]
notNamespaces: [b]
trustDomains: [a.example]
notTrustDomains: [b.example]
ipBlocks: [10.0.0.0/8]
notIpBlocks: [10.1.2.3]
remoteIpBlocks: ["fd00::/8"]
notRemoteIpBlocks: ["::1"]
"""


@pytest.mark.parametrize("api_version", ["security.istio.io/v1", "security.istio.io/v1beta1"])
def test_peer_authentication(api_version: str) -> None:
    spec = spec_of(
        "PeerAuthentication",
        "selector: {matchLabels: {app: a}}\nmtls: {mode: STRICT}\nportLevelMtls: {8080: {mode: DISABLE}, '9080': {mode: 2}, 1: {}}",
        api_version=api_version,
    )
    assert spec.selector.match_labels == {"app": "a"}
    assert spec.mtls.mode is MtlsMode.STRICT
    assert spec.ports == {8080: MtlsMode.DISABLE, 9080: MtlsMode.PERMISSIVE, 1: MtlsMode.UNSET}


def test_an_authorization_policy_with_all_fields() -> None:
    spec = spec_of(
        "AuthorizationPolicy",
        f"""
selector: {{matchLabels: {{app: a}}}}
action: DENY
rules:
- from:
  - {{source: {{{", ".join(ALL_OF_A_SOURCE.strip().splitlines())}}}}}
  - {{source: {{serviceAccounts: [a, b/c], not_service_accounts: [d]}}}}
  to:
  - operation: {{hosts: [a*], notHosts: [b], ports: ["80"], notPorts: ["81"], methods: [GET], notMethods: [PUT]}}
  - operation: {{paths: ["/a/{{*}}/b/{{**}}"], notPaths: ["/x*"]}}
  when:
  - {{key: "request.headers[x-a]", values: [b]}}
  - {{key: "request.auth.claims[a][b]", notValues: [c]}}
  - {{key: source.ip, values: [10.0.0.0/8]}}
""",
        api_version=SECURITY,
    )
    assert spec.action is Action.DENY
    (rule,) = spec.rules
    assert rule.from_[0].source.not_remote_ip_blocks == ("::1",)
    assert rule.from_[1].source.service_accounts == ("a", "b/c")
    assert rule.to[1].operation.paths == ("/a/{*}/b/{**}",)
    assert [c.key for c in rule.when] == ["request.headers[x-a]", "request.auth.claims[a][b]", "source.ip"]


def test_a_request_authentication_with_all_fields() -> None:
    spec = spec_of(
        "RequestAuthentication",
        """
targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]
jwtRules:
- issuer: i
  audiences: [a]
  jwks_uri: https://issuer.example/keys
  fromHeaders: [{name: x-jwt, prefix: "Token "}]
  fromParams: [t]
  fromCookies: [c]
  outputPayloadToHeader: x-payload
  outputClaimToHeaders: [{header: x-sub, claim: sub}]
  forwardOriginalToken: true
  timeout: 2s
  spaceDelimitedClaims: [groups]
  presence: REQUIRED
- {issuer: j, jwks: '{"keys": []}'}
""",
        api_version=SECURITY,
    )
    first, second = spec.jwt_rules
    assert (first.jwks_uri, first.from_headers[0].prefix, first.timeout.total_seconds()) == ("https://issuer.example/keys", "Token ", 2)
    assert (second.jwks, second.timeout.total_seconds()) == ('{"keys": []}', 5)
    assert [ref.name for ref in spec.targets] == ["g"]


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("PeerAuthentication", "mtls: {mode: ON}", "5: spec.mtls.mode: must be one of UNSET, DISABLE, PERMISSIVE, STRICT, not 'ON'"),
        ("PeerAuthentication", "portLevelMtls: {80: {}}", "5: spec.portLevelMtls: needs a selector with matchLabels"),
        ("PeerAuthentication", "selector: {matchLabels: {a: b}}\nportLevelMtls: {http: {}}",
         "6: spec.portLevelMtls.http: must be the number of a port, from 1 to 65535, not 'http'"),
        ("AuthorizationPolicy", "action: DENY", "4: spec.rules: required where the action is DENY; write [{}] for every request"),
        ("AuthorizationPolicy", "action: CUSTOM\nrules: [{}]", "4: spec.provider: required where the action is CUSTOM"),
        ("AuthorizationPolicy", "provider: {name: a}", "5: spec.provider: needs the action CUSTOM"),
        ("AuthorizationPolicy", "selector: {}\ntargetRef: {kind: Gateway, name: a}", "4: spec: set only one of selector, targetRef"),
        ("AuthorizationPolicy", "rules: [{from: []}]", "5: spec.rules[0].from: must have at least one item; leave it out for all"),
        ("AuthorizationPolicy", "rules: [{from: [{source: {}}]}]", "5: spec.rules[0].from[0].source: must say something"),
        ("AuthorizationPolicy", "rules: [{to: [{operation: {ports: [a]}}]}]",
         "5: spec.rules[0].to[0].operation.ports[0]: must be the number of a port, from 1 to 65535, as text, not 'a'"),
        ("AuthorizationPolicy", "rules: [{to: [{operation: {paths: ['/a{*}']}}]}]",
         "5: spec.rules[0].to[0].operation.paths[0]: must have {*} and {**} alone between slashes, not '/a{*}'"),
        ("AuthorizationPolicy", "rules: [{to: [{operation: {paths: ['/{**}/{**}']}}]}]",
         "5: spec.rules[0].to[0].operation.paths[0]: must have no other * or brackets beside {*}, and {**} at most once, not '/{**}/{**}'"),
        ("AuthorizationPolicy", "rules: [{from: [{source: {serviceAccounts: [a/b/c]}}]}]",
         "5: spec.rules[0].from[0].source.serviceAccounts[0]: must be \"account\" or \"namespace/account\" without wildcard, not 'a/b/c'"),
        ("AuthorizationPolicy", "rules: [{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}]",
         "5: spec.rules[0].from[0].source.namespaces: must not stand beside serviceAccounts and notServiceAccounts"),
        ("AuthorizationPolicy", "rules: [{when: [{key: source.ip, values: [x]}]}]",
         "5: spec.rules[0].when[0].values[0]: must be an IP address or a range such as 10.0.0.0/8, not 'x'"),
        ("AuthorizationPolicy", "rules: [{when: [{key: source.ip}]}]", "5: spec.rules[0].when[0]: set at least one of values, notValues"),
        ("RequestAuthentication", "jwtRules: [{}]", "5: spec.jwtRules[0].issuer: required"),
        ("RequestAuthentication", "jwtRules: [{issuer: a, jwksUri: file:///etc/passwd}]",
         "5: spec.jwtRules[0].jwksUri: must be a URL with http or https, of at most 2048 characters, not 'file:///etc/passwd'"),
        ("RequestAuthentication", "jwtRules: [{issuer: a, jwks: x}]",
         "5: spec.jwtRules[0].jwks: must be a set of keys as JSON (RFC 7517, 5)"),
        ("RequestAuthentication", "jwtRules: [{issuer: a, jwks: '{\"keys\": [{}, {\"kty\": \"EC\", \"d\": \"c2VjcmV0\"}]}'}]",
         "5: spec.jwtRules[0].jwks: must hold public keys alone, and number 2 is a private one"),
        ("RequestAuthentication", "jwtRules: [{issuer: a, jwks: '{}', jwksUri: 'http://a'}]",
         "5: spec.jwtRules[0]: set only one of jwksUri, jwks"),
    ],
)  # fmt: skip
def test_mistakes(kind: str, spec: str, said: str) -> None:
    assert said in wrong(kind, spec, api_version=SECURITY)


def test_an_unknown_attribute_is_named() -> None:
    (line,) = wrong("AuthorizationPolicy", "rules: [{when: [{key: request.path, values: [x]}]}]", api_version=SECURITY)
    assert line.startswith("5: spec.rules[0].when[0].key: must be one of source.ip, ")


@pytest.mark.parametrize(
    ("kind", "spec", "places"),
    [
        ("PeerAuthentication", "selector: {matchLabels: {a: b}}\nmtls: {mode: STRICT}\nportLevelMtls: {1: {}}", []),
        ("AuthorizationPolicy", "{}", []),
        ("RequestAuthentication", "{}", []),
    ],
)  # fmt: skip
def test_what_is_not_in_force(kind: str, spec: str, places: list[str]) -> None:
    assert [line.partition(":")[0] for line in warned(kind, spec, api_version=SECURITY)] == places
