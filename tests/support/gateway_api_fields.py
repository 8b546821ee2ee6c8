"""All fields of the Gateway API's documents, as tables: a line names one, and two values of a part of a document that differ in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

FILTERS = """
requestHeaderModifier.set[].name | RequestHeaderModifier | set: [{name: x, value: a}] | set: [{name: z, value: a}]
requestHeaderModifier.set[].value | RequestHeaderModifier | set: [{name: x, value: a}] | set: [{name: x, value: b}]
requestHeaderModifier.add[].name | RequestHeaderModifier | add: [{name: x, value: a}] | add: [{name: z, value: a}]
requestHeaderModifier.add[].value | RequestHeaderModifier | add: [{name: x, value: a}] | add: [{name: x, value: b}]
requestHeaderModifier.remove[] | RequestHeaderModifier | remove: [x] | remove: [z]
responseHeaderModifier.set[].name | ResponseHeaderModifier | set: [{name: x, value: a}] | set: [{name: z, value: a}]
responseHeaderModifier.set[].value | ResponseHeaderModifier | set: [{name: x, value: a}] | set: [{name: x, value: b}]
responseHeaderModifier.add[].name | ResponseHeaderModifier | add: [{name: x, value: a}] | add: [{name: z, value: a}]
responseHeaderModifier.add[].value | ResponseHeaderModifier | add: [{name: x, value: a}] | add: [{name: x, value: b}]
responseHeaderModifier.remove[] | ResponseHeaderModifier | remove: [x] | remove: [z]
requestMirror.backendRef.group | RequestMirror | backendRef: {name: b, port: 80} | backendRef: {name: b, port: 80, group: x.y}
requestMirror.backendRef.kind | RequestMirror | backendRef: {name: b, port: 80} | backendRef: {name: b, port: 80, kind: Bucket}
requestMirror.backendRef.name | RequestMirror | backendRef: {name: b, port: 80} | backendRef: {name: a, port: 80}
requestMirror.backendRef.namespace | RequestMirror | backendRef: {name: b, port: 80} | backendRef: {name: b, port: 80, namespace: team}
requestMirror.backendRef.port | RequestMirror | backendRef: {name: b, port: 80} | backendRef: {name: b, port: 81}
requestMirror.percent | RequestMirror | backendRef: {name: b, port: 80} | backendRef: {name: b, port: 80}, percent: 5
requestMirror.fraction.numerator | RequestMirror | backendRef: {name: b, port: 80}, fraction: {numerator: 1} | \
backendRef: {name: b, port: 80}, fraction: {numerator: 2}
requestMirror.fraction.denominator | RequestMirror | backendRef: {name: b, port: 80}, fraction: {numerator: 1} | \
backendRef: {name: b, port: 80}, fraction: {numerator: 1, denominator: 7}
extensionRef.group | ExtensionRef | group: x.y, kind: F, name: f | group: y.z, kind: F, name: f
extensionRef.kind | ExtensionRef | group: x.y, kind: F, name: f | group: x.y, kind: G, name: f
extensionRef.name | ExtensionRef | group: x.y, kind: F, name: f | group: x.y, kind: F, name: g
"""
"""Below a filter: the field, the filter's type, and its settings."""

HTTP_FILTERS = """
requestRedirect.scheme | RequestRedirect | "" | scheme: https
requestRedirect.hostname | RequestRedirect | "" | hostname: z.example
requestRedirect.port | RequestRedirect | "" | port: 8443
requestRedirect.statusCode | RequestRedirect | "" | statusCode: 308
requestRedirect.path.type | RequestRedirect | path: {type: ReplaceFullPath, replaceFullPath: /z} | \
path: {type: ReplacePrefixMatch, replacePrefixMatch: /z}
requestRedirect.path.replaceFullPath | RequestRedirect | path: {type: ReplaceFullPath, replaceFullPath: /y} | \
path: {type: ReplaceFullPath, replaceFullPath: /z}
requestRedirect.path.replacePrefixMatch | RequestRedirect | path: {type: ReplacePrefixMatch, replacePrefixMatch: /y} | \
path: {type: ReplacePrefixMatch, replacePrefixMatch: /z}
urlRewrite.hostname | URLRewrite | "" | hostname: z.example
urlRewrite.path.type | URLRewrite | path: {type: ReplaceFullPath, replaceFullPath: /z} | \
path: {type: ReplacePrefixMatch, replacePrefixMatch: /z}
urlRewrite.path.replaceFullPath | URLRewrite | path: {type: ReplaceFullPath, replaceFullPath: /y} | \
path: {type: ReplaceFullPath, replaceFullPath: /z}
urlRewrite.path.replacePrefixMatch | URLRewrite | path: {type: ReplacePrefixMatch, replacePrefixMatch: /y} | \
path: {type: ReplacePrefixMatch, replacePrefixMatch: /z}
cors.allowOrigins[] | CORS | allowOrigins: ["https://a.example"] | allowOrigins: ["https://z.example"]
cors.allowCredentials | CORS | "" | allowCredentials: true
cors.allowMethods[] | CORS | allowMethods: [GET] | allowMethods: [PUT]
cors.allowHeaders[] | CORS | allowHeaders: [x-a] | allowHeaders: [x-b]
cors.exposeHeaders[] | CORS | exposeHeaders: [x-a] | exposeHeaders: [x-b]
cors.maxAge | CORS | "" | maxAge: 77
"""

SESSIONS = """
sessionPersistence.type | {} | {type: Header, header: {name: x}}
sessionPersistence.sessionName | {} | {sessionName: z}
sessionPersistence.absoluteTimeout | {cookie: {lifetimeType: Permanent}, absoluteTimeout: 1h} | \
{cookie: {lifetimeType: Permanent}, absoluteTimeout: 2h}
sessionPersistence.idleTimeout | {} | {idleTimeout: 1h}
sessionPersistence.cookie.name | {} | {cookie: {name: z}}
sessionPersistence.cookie.path | {} | {cookie: {path: /z}}
sessionPersistence.cookie.lifetimeType | {absoluteTimeout: 1h, cookie: {}} | {absoluteTimeout: 1h, cookie: {lifetimeType: Permanent}}
sessionPersistence.cookieConfig.name | {} | {cookieConfig: {name: z}}
sessionPersistence.cookieConfig.path | {} | {cookieConfig: {path: /z}}
sessionPersistence.cookieConfig.lifetimeType | {absoluteTimeout: 1h} | {absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}
sessionPersistence.header.name | {type: Header, header: {name: x}} | {type: Header, header: {name: z}}
"""

PARENTS = """
parentRefs[].group | [{name: edge}] | [{name: edge, group: x.y}]
parentRefs[].kind | [{name: edge}] | [{name: edge, kind: ListenerSet}]
parentRefs[].namespace | [{name: edge}] | [{name: edge, namespace: team}]
parentRefs[].name | [{name: edge}] | [{name: other}]
parentRefs[].sectionName | [{name: edge}] | [{name: edge, sectionName: more}]
parentRefs[].port | [{name: edge}] | [{name: edge, port: 1}]
"""

BACKENDS = """
backendRefs[].group | [{name: a, port: 80}] | [{name: a, port: 80, group: x.y}]
backendRefs[].kind | [{name: a, port: 80}] | [{name: a, port: 80, kind: Bucket}]
backendRefs[].namespace | [{name: a, port: 80}] | [{name: a, port: 80, namespace: team}]
backendRefs[].name | [{name: a, port: 80}] | [{name: b, port: 80}]
backendRefs[].port | [{name: a, port: 80}] | [{name: a, port: 81}]
backendRefs[].weight | [{name: a, port: 80}] | [{name: a, port: 80, weight: 0}]
"""

LISTENERS = """
listeners[].name | {} | {name: z}
listeners[].hostname | {} | {hostname: z.example}
listeners[].port | {} | {port: 8081}
listeners[].protocol | {} | {protocol: TCP}
listeners[].tls.mode | {protocol: TLS, tls: {mode: Passthrough}} | {protocol: TLS, tls: {mode: Terminate, certificateRefs: [{name: pair}]}}
listeners[].tls.certificateRefs[].group | <https> | {protocol: HTTPS, tls: {certificateRefs: [{name: pair, group: x.y}]}}
listeners[].tls.certificateRefs[].kind | <https> | {protocol: HTTPS, tls: {certificateRefs: [{name: pair, kind: Bucket}]}}
listeners[].tls.certificateRefs[].name | <https> | {protocol: HTTPS, tls: {certificateRefs: [{name: gone}]}}
listeners[].tls.certificateRefs[].namespace | <https> | {protocol: HTTPS, tls: {certificateRefs: [{name: pair, namespace: team}]}}
listeners[].tls.options | <https> | {protocol: HTTPS, tls: {certificateRefs: [{name: pair}], options: {tulle.dev/minimum-version: "1.3"}}}
listeners[].tls.options | <https> | {protocol: HTTPS, tls: {certificateRefs: [{name: pair}], options: {x.y/z: a}}}
listeners[].tls.options | <https> | {protocol: HTTPS, tls: {certificateRefs: [{name: pair}], options: {tulle.dev/minimum-version: "9"}}}
listeners[].allowedRoutes.namespaces.from | {} | {allowedRoutes: {namespaces: {from: All}}}
listeners[].allowedRoutes.namespaces.selector.matchLabels | <labels a: b> | <labels a: z>
listeners[].allowedRoutes.namespaces.selector.matchExpressions[].key | <asks {key: a, operator: Exists}> | <asks {key: z, operator: Exists}>
listeners[].allowedRoutes.namespaces.selector.matchExpressions[].operator | <asks {key: a, operator: Exists}> | \
<asks {key: a, operator: DoesNotExist}>
listeners[].allowedRoutes.namespaces.selector.matchExpressions[].values[] | <asks {key: a, operator: In, values: [b]}> | \
<asks {key: a, operator: In, values: [z]}>
listeners[].allowedRoutes.kinds[].group | {allowedRoutes: {kinds: [{kind: HTTPRoute}]}} | \
{allowedRoutes: {kinds: [{kind: HTTPRoute, group: x.y}]}}
listeners[].allowedRoutes.kinds[].kind | {allowedRoutes: {kinds: [{kind: HTTPRoute}]}} | {allowedRoutes: {kinds: [{kind: GRPCRoute}]}}
"""
"""What is added to the first listener."""

VALIDATION = """
caCertificateRefs[].group | <trusts kind: ConfigMap, name: roots> | <trusts group: x.y, kind: ConfigMap, name: roots>
caCertificateRefs[].kind | <trusts kind: ConfigMap, name: roots> | <trusts kind: Secret, name: roots>
caCertificateRefs[].name | <trusts kind: ConfigMap, name: roots> | <trusts kind: ConfigMap, name: gone>
caCertificateRefs[].namespace | <trusts kind: ConfigMap, name: roots> | <trusts kind: ConfigMap, name: roots, namespace: team>
mode | <trusts kind: ConfigMap, name: roots> | <trusts+ mode: AllowInsecureFallback>
"""

TABLES = {
    "GatewayClass": """
controllerName | {} | {controllerName: x.y/z}
description | {} | {description: z}
parametersRef.group | {} | {parametersRef: {group: x.y, kind: A, name: b}}
parametersRef.kind | {} | {parametersRef: {group: x.y, kind: A, name: b}}
parametersRef.name | {} | {parametersRef: {group: x.y, kind: A, name: b}}
parametersRef.namespace | {} | {parametersRef: {group: x.y, kind: A, name: b, namespace: c}}
""",
    "Gateway": """
gatewayClassName | {} | {gatewayClassName: nginx}
addresses[].type | {} | {addresses: [{type: Hostname, value: a.example}]}
addresses[].value | {addresses: [{value: 127.0.0.1}]} | {addresses: [{value: 127.0.0.2}]}
addresses[].value | {} | {addresses: [{type: IPAddress}]}
infrastructure.labels | {} | {infrastructure: {labels: {a: b}}}
infrastructure.annotations | {} | {infrastructure: {annotations: {a: b}}}
infrastructure.parametersRef.group | {} | {infrastructure: {parametersRef: {group: x.y, kind: A, name: b}}}
infrastructure.parametersRef.kind | {} | {infrastructure: {parametersRef: {group: "", kind: ConfigMap, name: b}}}
infrastructure.parametersRef.name | {} | {infrastructure: {parametersRef: {group: "", kind: ConfigMap, name: b}}}
allowedListeners.namespaces.from | {} | {allowedListeners: {namespaces: {from: All}}}
allowedListeners.namespaces.selector.matchLabels | <lets matchLabels: {a: b}> | <lets matchLabels: {a: z}>
allowedListeners.namespaces.selector.matchExpressions[].key | <lets matchExpressions: [{key: a, operator: Exists}]> | \
<lets matchExpressions: [{key: z, operator: Exists}]>
allowedListeners.namespaces.selector.matchExpressions[].operator | <lets matchExpressions: [{key: a, operator: Exists}]> | \
<lets matchExpressions: [{key: a, operator: DoesNotExist}]>
allowedListeners.namespaces.selector.matchExpressions[].values[] | <lets matchExpressions: [{key: a, operator: In, values: [b]}]> | \
<lets matchExpressions: [{key: a, operator: In, values: [z]}]>
tls.backend.clientCertificateRef.group | {} | {tls: {backend: {clientCertificateRef: {name: pair, group: x.y}}}}
tls.backend.clientCertificateRef.kind | {} | {tls: {backend: {clientCertificateRef: {name: pair, kind: Bucket}}}}
tls.backend.clientCertificateRef.name | {} | {tls: {backend: {clientCertificateRef: {name: gone}}}}
tls.backend.clientCertificateRef.namespace | {} | {tls: {backend: {clientCertificateRef: {name: pair, namespace: team}}}}
""",
    "ListenerSet": """
parentRef.group | {} | {parentRef: {name: edge, group: x.y}}
parentRef.kind | {} | {parentRef: {name: edge, kind: Bucket}}
parentRef.namespace | {} | {parentRef: {name: edge, namespace: team}}
parentRef.name | {} | {parentRef: {name: gone}}
""",
    "HTTPRoute": """
hostnames[] | {} | {hostnames: [z.example]}
rules[].name | {} | <rule {name: z}>
rules[].matches[].path.type | <rule {matches: [{path: {value: /a}}]}> | <rule {matches: [{path: {type: Exact, value: /a}}]}>
rules[].matches[].path.value | <rule {matches: [{path: {value: /a}}]}> | <rule {matches: [{path: {value: /z}}]}>
rules[].matches[].headers[].type | <rule {matches: [{headers: [{name: x, value: a}]}]}> | \
<rule {matches: [{headers: [{name: x, value: a, type: RegularExpression}]}]}>
rules[].matches[].headers[].name | <rule {matches: [{headers: [{name: x, value: a}]}]}> | \
<rule {matches: [{headers: [{name: z, value: a}]}]}>
rules[].matches[].headers[].value | <rule {matches: [{headers: [{name: x, value: a}]}]}> | \
<rule {matches: [{headers: [{name: x, value: z}]}]}>
rules[].matches[].queryParams[].type | <rule {matches: [{queryParams: [{name: x, value: a}]}]}> | \
<rule {matches: [{queryParams: [{name: x, value: a, type: RegularExpression}]}]}>
rules[].matches[].queryParams[].name | <rule {matches: [{queryParams: [{name: x, value: a}]}]}> | \
<rule {matches: [{queryParams: [{name: z, value: a}]}]}>
rules[].matches[].queryParams[].value | <rule {matches: [{queryParams: [{name: x, value: a}]}]}> | \
<rule {matches: [{queryParams: [{name: x, value: z}]}]}>
rules[].matches[].method | {} | <rule {matches: [{method: PUT}]}>
rules[].timeouts.request | {} | <rule {timeouts: {request: 3s}}>
rules[].timeouts.backendRequest | {} | <rule {timeouts: {backendRequest: 3s}}>
rules[].retry.codes[] | {} | <rule {retry: {codes: [503]}}>
rules[].retry.attempts | {} | <rule {retry: {attempts: 5}}>
rules[].retry.backoff | {} | <rule {retry: {backoff: 3s}}>
""",
    "GRPCRoute": """
hostnames[] | {} | {hostnames: [z.example]}
rules[].name | {} | <rule {name: z}>
rules[].matches[].method.type | <rule {matches: [{method: {service: a}}]}> | \
<rule {matches: [{method: {service: a, type: RegularExpression}}]}>
rules[].matches[].method.service | <rule {matches: [{method: {service: a}}]}> | <rule {matches: [{method: {service: z}}]}>
rules[].matches[].method.method | <rule {matches: [{method: {service: a}}]}> | <rule {matches: [{method: {service: a, method: z}}]}>
rules[].matches[].headers[].type | <rule {matches: [{headers: [{name: x, value: a}]}]}> | \
<rule {matches: [{headers: [{name: x, value: a, type: RegularExpression}]}]}>
rules[].matches[].headers[].name | <rule {matches: [{headers: [{name: x, value: a}]}]}> | \
<rule {matches: [{headers: [{name: z, value: a}]}]}>
rules[].matches[].headers[].value | <rule {matches: [{headers: [{name: x, value: a}]}]}> | \
<rule {matches: [{headers: [{name: x, value: z}]}]}>
""",
    "TLSRoute": "hostnames[] | {hostnames: [a.example]} | {hostnames: [z.example]}\nrules[].name | {} | <rule {name: z}>",
    "TCPRoute": "rules[].name | {} | <rule {name: z}>",
    "UDPRoute": "rules[].name | {} | <rule {name: z}>",
    "ReferenceGrant": """
from[].group | {} | {from: [{group: x.y, kind: HTTPRoute, namespace: default}]}
from[].kind | {} | {from: [{group: gateway.networking.k8s.io, kind: TCPRoute, namespace: default}]}
from[].namespace | {} | {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: z}]}
to[].group | {} | {to: [{group: x.y, kind: Service}]}
to[].kind | {} | {to: [{group: "", kind: Secret}]}
to[].name | {} | {to: [{group: "", kind: Service, name: z}]}
""",
    "BackendTLSPolicy": """
targetRefs[].group | {} | {targetRefs: [{group: x.y, kind: Service, name: a}]}
targetRefs[].kind | {} | {targetRefs: [{group: "", kind: Bucket, name: a}]}
targetRefs[].name | {} | {targetRefs: [{group: "", kind: Service, name: b}]}
targetRefs[].sectionName | {} | {targetRefs: [{group: "", kind: Service, name: a, sectionName: z}]}
validation.hostname | {} | {validation: {wellKnownCACertificates: System, hostname: z.example}}
validation.wellKnownCACertificates | {} | {validation: {wellKnownCACertificates: x.y/z, hostname: a.example}}
validation.caCertificateRefs[].group | <roots kind: ConfigMap, name: roots> | <roots group: x.y, kind: ConfigMap, name: roots>
validation.caCertificateRefs[].kind | <roots kind: ConfigMap, name: roots> | <roots kind: Secret, name: roots>
validation.caCertificateRefs[].name | <roots kind: ConfigMap, name: roots> | <roots kind: ConfigMap, name: gone>
validation.subjectAltNames[].type | <names type: Hostname, hostname: z.example> | <names type: URI, uri: "spiffe://z">
validation.subjectAltNames[].hostname | <names type: Hostname, hostname: z.example> | <names type: Hostname, hostname: y.example>
validation.subjectAltNames[].uri | <names type: URI, uri: "spiffe://z"> | <names type: URI, uri: "spiffe://y">
options | {} | {options: {x.y/z: a}}
""",
    "XBackendTrafficPolicy": """
targetRefs[].group | {} | {targetRefs: [{group: x.y, kind: Service, name: a}]}
targetRefs[].kind | {} | {targetRefs: [{group: "", kind: Bucket, name: a}]}
targetRefs[].name | {} | {targetRefs: [{group: "", kind: Service, name: b}]}
retryConstraint.budget.percent | {} | {retryConstraint: {budget: {percent: 7}}}
retryConstraint.budget.interval | {retryConstraint: {}} | {retryConstraint: {budget: {interval: 7s}}}
retryConstraint.minRetryRate.count | {retryConstraint: {}} | {retryConstraint: {minRetryRate: {count: 77}}}
retryConstraint.minRetryRate.interval | {retryConstraint: {}} | {retryConstraint: {minRetryRate: {interval: 77s}}}
""",
}
"""What is put into the `spec`."""

SILENT = {
    ("GatewayClass", "description"): "it is for readers",
    ("TLSRoute", "rules[].name"): "nothing of a connection shows the name of its rule",
    ("TCPRoute", "rules[].name"): "nothing of a connection shows the name of its rule",
    ("UDPRoute", "rules[].name"): "nothing of a connection shows the name of its rule",
}
"""Fields without effect of which nothing needs to be said."""

BASES: dict[str, Any] = {
    "GatewayClass": {"controllerName": "tulle.dev/gateway-controller"},
    "Gateway": {"gatewayClassName": "mine", "listeners": [{"name": "web", "port": 80, "protocol": "HTTP"}]},
    "ListenerSet": {"parentRef": {"name": "edge"}, "listeners": [{"name": "own", "port": 8080, "protocol": "HTTP"}]},
    "ReferenceGrant": {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "default"}],
        "to": [{"group": "", "kind": "Service"}],
    },
    "BackendTLSPolicy": {
        "targetRefs": [{"group": "", "kind": "Service", "name": "a"}],
        "validation": {"wellKnownCACertificates": "System", "hostname": "a.example"},
    },
    "XBackendTrafficPolicy": {"targetRefs": [{"group": "", "kind": "Service", "name": "a"}]},
    **{
        kind: {"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "a", "port": 80}]}]}
        for kind in ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
    },
}


def written(text: str) -> Any:
    """The short forms of the tables, spelled out."""
    forms = {
        r"<https>": "{protocol: HTTPS, tls: {certificateRefs: [{name: pair}]}}",
        r"<labels (.*)>": r"{allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {\1}}}}}",
        r"<asks (.*)>": r"{allowedRoutes: {namespaces: {from: Selector, selector: {matchExpressions: [\1]}}}}",
        r"<lets (.*)>": r"{allowedListeners: {namespaces: {from: Selector, selector: {\1}}}}",
        r"<trusts ((?!group).*)>": r'{caCertificateRefs: [{group: "", \1}]}',
        r"<trusts (group.*)>": r"{caCertificateRefs: [{\1}]}",
        r"<trusts\+ (.*)>": r'{caCertificateRefs: [{group: "", kind: ConfigMap, name: roots}], \1}',
        r"<roots ((?!group).*)>": r'{validation: {hostname: a.example, caCertificateRefs: [{group: "", \1}]}}',
        r"<roots (group.*)>": r"{validation: {hostname: a.example, caCertificateRefs: [{\1}]}}",
        r"<names (.*)>": r"{validation: {hostname: a.example, wellKnownCACertificates: System, subjectAltNames: [{\1}]}}",
    }
    for form, spelled in forms.items():
        text = re.sub(f"^{form}$", spelled, text)
    return yaml.safe_load(text)


def rows(table: str) -> Iterator[list[str]]:
    for line in table.replace("\\\n", "").strip().splitlines():
        yield [part.strip() for part in line.split(" | ")]


Case = tuple[str, str, Any, Any]
"""Kind, field, and two specs."""


def fields() -> Iterator[Case]:
    """Each field at least once, with two specs that differ in it."""
    for kind, table in TABLES.items():
        for field, *pair in rows(table):
            one, two = ((_of_rule(kind, text) if text.startswith("<rule ") else BASES[kind] | written(text)) for text in pair)
            yield kind, field, one, two
    for kind in ("Gateway", "ListenerSet"):
        yield from ((kind, field, *(_of_listener(kind, written(text)) for text in pair)) for field, *pair in rows(LISTENERS))
    yield from _frontends()
    for kind in ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"):
        yield from ((kind, field, *(BASES[kind] | {"parentRefs": written(text)} for text in pair)) for field, *pair in rows(PARENTS))
        yield from (
            (kind, f"rules[].{field}", *(changed_rule(kind, backendRefs=written(t)) for t in pair)) for field, *pair in rows(BACKENDS)
        )
    for kind in ("HTTPRoute", "GRPCRoute"):
        yield from (
            (kind, f"rules[].{field}", *(changed_rule(kind, sessionPersistence=written(t)) for t in pair))
            for field, *pair in rows(SESSIONS)
        )
        yield from _filters(kind)
    policy = BASES["XBackendTrafficPolicy"]
    yield from (
        ("XBackendTrafficPolicy", field, *(policy | {"sessionPersistence": written(t)} for t in pair)) for field, *pair in rows(SESSIONS)
    )


def changed_rule(kind: str, **more: Any) -> Any:
    return BASES[kind] | {"rules": [BASES[kind]["rules"][0] | more]}


def _of_rule(kind: str, text: str) -> Any:
    return changed_rule(kind, **written(text.removeprefix("<rule ").removesuffix(">")))


def _of_listener(kind: str, more: Any) -> Any:
    return BASES[kind] | {"listeners": [BASES[kind]["listeners"][0] | more]}


def _frontends() -> Iterator[Case]:
    base = BASES["Gateway"] | {"listeners": [BASES["Gateway"]["listeners"][0] | written("<https>")]}
    for field, *pair in rows(VALIDATION):
        default = ({"default": {"validation": written(text)}} for text in pair)
        yield ("Gateway", f"tls.frontend.default.validation.{field}", *(base | {"tls": {"frontend": f}} for f in default))
        own = ({"default": {}, "perPort": [{"port": 80, "tls": {"validation": written(text)}}]} for text in pair)
        yield ("Gateway", f"tls.frontend.perPort[].tls.validation.{field}", *(base | {"tls": {"frontend": f}} for f in own))
    trusts = {"validation": written("<trusts kind: ConfigMap, name: roots>")}
    ports = ({"default": {}, "perPort": [{"port": port, "tls": trusts}]} for port in (80, 81))
    yield ("Gateway", "tls.frontend.perPort[].port", *(base | {"tls": {"frontend": f}} for f in ports))


def _filters(kind: str) -> Iterator[Case]:
    for field, type_, *pair in rows(FILTERS + (HTTP_FILTERS.strip() if kind == "HTTPRoute" else "")):
        name = field.split(".")[0]
        one, two = ({"type": type_, name: yaml.safe_load(f"{{{text}}}") if text != '""' else {}} for text in pair)
        match = {} if kind == "GRPCRoute" or type_ not in ("RequestRedirect", "URLRewrite") else {"matches": [{"path": {"value": "/a"}}]}
        to = {"backendRefs": []} if type_ == "RequestRedirect" else {}
        yield (
            kind,
            f"rules[].filters[].{field}",
            changed_rule(kind, **match, **to, filters=[one]),
            changed_rule(kind, **match, **to, filters=[two]),
        )
        backend = BASES[kind]["rules"][0]["backendRefs"][0]
        own = ([{**backend, "filters": [f]}] for f in (one, two))
        yield (kind, f"rules[].backendRefs[].filters[].{field}", *(changed_rule(kind, **match, backendRefs=refs) for refs in own))
    for where in ("rules[].filters[].type", "rules[].backendRefs[].filters[].type"):
        header = {"set": [{"name": "x", "value": "a"}]}
        kinds = ("RequestHeaderModifier", "ResponseHeaderModifier")
        found = ([{"type": t, t[0].lower() + t[1:]: header}] for t in kinds)
        if "backendRefs" in where:
            backend = BASES[kind]["rules"][0]["backendRefs"][0]
            yield (kind, where, *(changed_rule(kind, backendRefs=[backend | {"filters": f}]) for f in found))
        else:
            yield (kind, where, *(changed_rule(kind, filters=f) for f in found))
