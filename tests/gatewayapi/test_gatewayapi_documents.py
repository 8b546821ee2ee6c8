"""What documents of the Gateway API may say, and what is said of those that may not."""

from __future__ import annotations

import pytest

from support.reading import cases, document, good, warned, wrong

V1 = {"api_version": "gateway.networking.k8s.io/v1"}

ROUTE = """
hostnames: [Upper.example, 10.0.0.1, "a.*.example"]
=>
5: spec.hostnames[0]: must be a host name in lower case, or "*." and one, not 'Upper.example'
5: spec.hostnames[1]: must be a host name and no address, not '10.0.0.1'
5: spec.hostnames[2]: must be a host name in lower case, or "*." and one, not 'a.*.example'
====
rules: []
=>
5: spec.rules: must have at least one item
====
rules:
- matches:
  - path: {value: x}
  - path: {type: Exact, value: /a//b}
  - path: {value: /a/../b}
  - path: {value: /a/..}
  - path: {value: /a%2fb}
  - path: {value: "/a b"}
  - path: {type: RegularExpression, value: "(/a"}
  - path: {type: Suffix}
=>
7: spec.rules[0].matches[0].path.value: must begin with /, not 'x'
8: spec.rules[0].matches[1].path.value: must not contain //
9: spec.rules[0].matches[2].path.value: must not contain /../
10: spec.rules[0].matches[3].path.value: must not end with /..
11: spec.rules[0].matches[4].path.value: must not contain %2f
12: spec.rules[0].matches[5].path.value: must be a path as in a URL, not '/a b'
13: spec.rules[0].matches[6].path.value: must be a regular expression in RE2 syntax: missing ): (/a
14: spec.rules[0].matches[7].path.type: must be one of Exact, PathPrefix, RegularExpression, not 'Suffix'
====
rules:
- matches:
  - method: get
  - headers: [{name: a, value: x}, {name: a, value: y}]
  - headers: [{name: "a b", value: x}]
  - queryParams: [{name: q, value: ""}]
=>
7: spec.rules[0].matches[0].method: must be an HTTP method in capitals, not 'get'
8: spec.rules[0].matches[1].headers[1].name: 'a' is taken by an earlier item
9: spec.rules[0].matches[2].headers[0].name: must be a header name, not 'a b'
10: spec.rules[0].matches[3].queryParams[0].value: must be from 1 to 1024 characters long
====
rules:
- backendRefs: [{name: a}, {name: b, port: 80, weight: 1000001}, {name: c, kind: Bucket, group: x.y}]
=>
6: spec.rules[0].backendRefs[0].port: required for a Service
6: spec.rules[0].backendRefs[1].weight: must be between 0 and 1000000, not 1000001
====
rules:
- filters:
  - {type: URLRewrite}
  - {type: RequestMirror, urlRewrite: {hostname: a}}
=>
7: spec.rules[0].filters[0].urlRewrite: required where type is URLRewrite
8: spec.rules[0].filters[1].requestMirror: required where type is RequestMirror
8: spec.rules[0].filters[1].urlRewrite: must not be set where type is RequestMirror
====
rules:
- filters:
  - {type: RequestRedirect, requestRedirect: {scheme: ftp, hostname: "*.x", statusCode: 305}}
  - {type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /}}}
=>
7: spec.rules[0].filters[0].requestRedirect.scheme: must be one of http, https, not 'ftp'
7: spec.rules[0].filters[0].requestRedirect.hostname: must be a host name without wildcard
8: spec.rules[0].filters[1].urlRewrite.path.replaceFullPath: required where type is ReplaceFullPath
8: spec.rules[0].filters[1].urlRewrite.path.replacePrefixMatch: must not be set where type is ReplaceFullPath
====
rules:
- filters:
  - {type: RequestRedirect, requestRedirect: {statusCode: 305}}
=>
7: spec.rules[0].filters[0].requestRedirect.statusCode: must be one of 301, 302, 303, 307, 308, not 305
====
rules:
- filters:
  - {type: RequestRedirect, requestRedirect: {}}
  - {type: URLRewrite, urlRewrite: {}}
  - {type: RequestRedirect, requestRedirect: {}}
  backendRefs: [{name: a, port: 80}]
=>
8: spec.rules[0].filters[1]: RequestRedirect and URLRewrite exclude each other
9: spec.rules[0].filters[2]: a second RequestRedirect filter; there may be one
10: spec.rules[0].backendRefs: must not stand beside a RequestRedirect filter
====
rules:
- matches: [{path: {value: /a}}, {path: {value: /b}}]
  filters:
  - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /c}}}
- matches: [{path: {type: Exact, value: /a}}]
  backendRefs:
  - {name: a, port: 80, filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /c}}}]}
=>
8: spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch: needs exactly one match in its rule, of type PathPrefix
11: spec.rules[1].backendRefs[0].filters[0].urlRewrite.path.replacePrefixMatch: needs exactly one match in its rule, of type PathPrefix
====
rules:
- filters:
  - {type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}, percent: 5, fraction: {numerator: 1}}}
  - {type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}, fraction: {numerator: 3, denominator: 2}}}
  - {type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}, percent: 101}}
=>
7: spec.rules[0].filters[0].requestMirror: set only one of percent, fraction
8: spec.rules[0].filters[1].requestMirror.fraction.numerator: must not be greater than the denominator, 2
9: spec.rules[0].filters[2].requestMirror.percent: must be between 0 and 100, not 101
====
rules:
- filters:
  - {type: CORS, cors: {allowOrigins: [a.example, "https://*.b.example"], allowMethods: ["*", GET], maxAge: 0}}
=>
7: spec.rules[0].filters[0].cors.allowOrigins[0]: must be "*" or an origin such as "https://*.example.com", not 'a.example'
7: spec.rules[0].filters[0].cors.maxAge: must be between 1 and 2147483647, not 0
====
rules:
- timeouts: {request: 1.5s, backendRequest: 2s}
- timeouts: {request: 1s, backendRequest: 2s}
- timeouts: {request: 0s, backendRequest: 2s}
- retry: {codes: [200]}
=>
6: spec.rules[0].timeouts.request: must be a duration of whole h, m, s and ms, such as "1m30s" or "500ms", not '1.5s'
7: spec.rules[1].timeouts.backendRequest: must not be longer than the timeout of the request
9: spec.rules[3].retry.codes[0]: must be between 400 and 599, not 200
====
parentRefs:
- {name: a}
- {name: a, sectionName: x}
- {name: b, sectionName: x}
- {name: b, sectionName: x}
- {name: b, namespace: n}
- {name: c, port: 0}
=>
11: spec.parentRefs[5].port: must be between 1 and 65535, not 0
====
parentRefs:
- {name: a}
- {name: a, sectionName: x}
- {name: b, sectionName: x}
- {name: b, sectionName: x}
- {name: b, namespace: n}
=>
7: spec.parentRefs[1]: must set the same of sectionName and port as the other references to this parent
9: spec.parentRefs[3]: names the same as an earlier one; give each its own sectionName or port
====
rules: [{sessionPersistence: {type: Cookie, cookie: {lifetimeType: Permanent}, header: {name: x}}}]
=>
5: spec.rules[0].sessionPersistence.header: must not be set where type is Cookie
5: spec.rules[0].sessionPersistence.absoluteTimeout: required where the cookie's lifetimeType is Permanent
====
rules: [{backendRef: [{name: a, port: 80}]}]
=>
5: spec.rules[0].backendRef: unknown field "backendRef"; did you mean "backendRefs"?
"""


@pytest.mark.parametrize(("spec", "said"), cases(ROUTE))
def test_http_routes(spec: str, said: list[str]) -> None:
    assert wrong("HTTPRoute", spec, **V1) == said


GATEWAY = """
listeners: []
=>
4: spec.gatewayClassName: required
5: spec.listeners: must have at least one item
====
gatewayClassName: tulle
listeners:
- {name: a, port: 80, protocol: HTTP, tls: {certificateRefs: [{name: x}]}}
- {name: b, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}
- {name: c, port: 443, protocol: TLS}
- {name: d, port: 443, protocol: TLS, hostname: d, tls: {certificateRefs: [{name: x}]}}
- {name: e, port: 1, protocol: TCP, hostname: e}
- {name: f, port: 443, protocol: HTTPS, hostname: f, tls: {}}
- {name: g, port: 80, protocol: HTTP, hostname: g, allowedRoutes: {namespaces: {from: Selector}}}
=>
7: spec.listeners[0].tls: must not be set where protocol is HTTP
8: spec.listeners[1].tls.mode: must be Terminate where protocol is HTTPS
9: spec.listeners[2].tls: required where protocol is TLS
10: spec.listeners[3].tls.mode: required where protocol is TLS
11: spec.listeners[4].hostname: must not be set where protocol is TCP
12: spec.listeners[5].tls.certificateRefs: required where mode is Terminate and no options are given
13: spec.listeners[6].allowedRoutes.namespaces.selector: required where from is Selector
====
gatewayClassName: tulle
listeners:
- {name: a, port: 80, protocol: HTTP}
- {name: a, port: 81, protocol: HTTP}
- {name: b, port: 80, protocol: HTTP}
=>
8: spec.listeners[1].name: 'a' is taken by an earlier item
9: spec.listeners[2]: has port, protocol and hostname of an earlier listener
====
gatewayClassName: tulle
listeners: [{name: a, port: 80, protocol: HTTP}]
addresses: [{value: a.example}, {type: Hostname, value: "10.0.0.1"}, {type: Zebra, value: x}, {value: 10.0.0.1}, {value: 10.0.0.1}]
=>
7: spec.addresses[0].value: must be an IP address, not 'a.example'
7: spec.addresses[1].value: must be a host name and no address, not '10.0.0.1'
7: spec.addresses[2].type: must be IPAddress, Hostname, NamedAddress or a name with a domain, not 'Zebra'
====
gatewayClassName: tulle
listeners: [{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: None}}}]
tls: {frontend: {default: {}, perPort: [{port: 443, tls: {}}, {port: 443, tls: {}}]}}
=>
6: spec.listeners[0].allowedRoutes.namespaces.from: must be one of All, Selector, Same, not 'None'
7: spec.tls.frontend.perPort[1].port: 443 is taken by an earlier item
====
gatewayClassName: tulle
listeners: [{name: a, port: 80, protocol: HTTP}]
allowedListeners:
  namespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: In}, {key: b, operator: Exists, values: [x]}]}}
=>
8: spec.allowedListeners.namespaces.selector.matchExpressions[0].values: required where operator is In
8: spec.allowedListeners.namespaces.selector.matchExpressions[1].values: must not be set where operator is Exists
"""


@pytest.mark.parametrize(("spec", "said"), cases(GATEWAY))
def test_gateways(spec: str, said: list[str]) -> None:
    found = wrong("Gateway", spec, **V1)
    assert [line.replace("Gateway.gateway.networking.k8s.io/a: ", "") for line in found] == said


TARGET = "targetRefs: [{group: '', kind: Service, name: a}]"
REST = [
    (
        "GatewayClass",
        "controllerName: tulle",
        "5: spec.controllerName: must be a domain and a path such as \"example.com/name\", not 'tulle'",
    ),
    (
        "ListenerSet",
        "parentRef: {name: a, port: 80}\nlisteners: [{name: a, port: 1, protocol: TCP}]",
        "5: spec.parentRef: must name a whole Gateway",
    ),
    ("GRPCRoute", "rules: [{matches: [{method: {}}]}]", "5: spec.rules[0].matches[0].method: set at least one of service, method"),
    (
        "GRPCRoute",
        "rules: [{matches: [{method: {service: a/b}}]}]",
        "5: spec.rules[0].matches[0].method.service: must be the name of a service, not 'a/b'",
    ),
    (
        "GRPCRoute",
        "rules: [{matches: [{method: {type: RegularExpression, method: '('}}]}]",
        "5: spec.rules[0].matches[0].method.method: must be a regular expression in RE2 syntax: missing ): (",
    ),
    ("TCPRoute", "rules: []", "5: spec.rules: must have at least one item"),
    ("TCPRoute", "rules: [{backendRefs: []}]", "5: spec.rules[0].backendRefs: must have at least one item"),
    (
        "UDPRoute",
        "rules: [{backendRefs: [{name: a, port: 1}]}, {backendRefs: [{name: a, port: 1}]}]",
        "5: spec.rules: must have at most 1 items",
    ),
    (
        "TLSRoute",
        "hostnames: [1.2.3.4]\nrules: [{backendRefs: [{name: a, port: 1}]}]",
        "5: spec.hostnames[0]: must be a host name and no address, not '1.2.3.4'",
    ),
    ("ReferenceGrant", "from: [{group: '', kind: x, namespace: a}]\nto: []", "6: spec.to: must have at least one item"),
    (
        "BackendTLSPolicy",
        "targetRefs: [{group: '', kind: Service, name: a}]\nvalidation: {hostname: a}",
        "6: spec.validation: set one of caCertificateRefs, wellKnownCACertificates",
    ),
    (
        "BackendTLSPolicy",
        f"{TARGET}\nvalidation: {{hostname: a, wellKnownCACertificates: System, subjectAltNames: [{{type: URI, hostname: b}}]}}",
        "6: spec.validation.subjectAltNames[0].hostname: must not be set where type is URI",
    ),
]


@pytest.mark.parametrize(("kind", "spec", "said"), REST)
def test_other_kinds(kind: str, spec: str, said: str) -> None:
    assert said in wrong(kind, spec, **V1)


EDGE = "gatewayClassName: a\nlisteners: [{name: a, port: 80, protocol: HTTP}]"


def test_traffic_policies() -> None:
    spec = "targetRefs: [{group: '', kind: Service, name: a}]\nretryConstraint: {budget: {percent: 101, interval: 2h}}"
    assert wrong("XBackendTrafficPolicy", spec, api_version="gateway.networking.x-k8s.io/v1alpha1") == [
        "6: spec.retryConstraint.budget.percent: must be between 0 and 100, not 101"
    ]


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("Gateway", EDGE, []),
        (
            "Gateway",
            f"{EDGE}\ninfrastructure: {{labels: {{a: b}}}}\naddresses: [{{type: Hostname, value: a.example}}, {{value: 10.0.0.1}}]",
            [
                "spec.infrastructure: has no effect outside Kubernetes: proxies are started with `tulle gateway`, or with `tulle up`",
            ],
        ),
        (
            "HTTPRoute",
            "parentRefs: [{group: '', kind: Service, name: a}]\nhostnames: [a.example]",
            ["spec: hostnames are not in force: callers in the mesh call the services that parentRefs name"],
        ),
        ("GRPCRoute", "parentRefs: [{group: '', kind: Service, name: a}, {name: edge}]\nhostnames: [a.example]", []),
        ("HTTPRoute", "hostnames: [a.example]", []),
        (
            "HTTPRoute",
            "rules: [{matches: [{headers: [{name: A, value: b}, {name: a, value: c}]}]}]",
            ["spec.rules[0].matches[0].headers: some are not in force: of names that differ only in case, the first counts"],
        ),
    ],
)
def test_what_is_not_in_force_is_said(kind: str, spec: str, said: list[str]) -> None:
    assert warned(kind, spec, **V1) == said


@pytest.mark.parametrize(
    ("kind", "versions"),
    [
        ("Gateway", ("v1", "v1beta1", "v1alpha2")),
        ("HTTPRoute", ("v1", "v1beta1", "v1alpha2")),
        ("GRPCRoute", ("v1", "v1alpha2")),
        ("TLSRoute", ("v1", "v1alpha3", "v1alpha2")),
        ("ReferenceGrant", ("v1", "v1beta1")),
    ],
)
def test_all_versions_are_read(kind: str, versions: tuple[str, ...]) -> None:
    specs = {
        "Gateway": "gatewayClassName: tulle\nlisteners: [{name: a, port: 80, protocol: HTTP}]",
        "ReferenceGrant": "from: [{group: '', kind: A, namespace: b}]\nto: [{group: '', kind: Service}]",
        "TLSRoute": "rules: [{backendRefs: [{name: a, port: 1}]}]",
    }
    found = [
        good(document(kind, specs.get(kind, "parentRefs: [{name: a}]"), api_version=f"gateway.networking.k8s.io/{v}")) for v in versions
    ]
    assert len({resource.key for resource in found}) == 1
    assert all(resource.spec == found[0].spec for resource in found)
