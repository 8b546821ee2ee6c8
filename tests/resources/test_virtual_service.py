"""VirtualService: what is accepted and what is said of the rest."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.reading import cases, spec_of, wrong
from tulle.resources.networking import VirtualService
from tulle.resources.networking.common import Destination, PortSelector, StringMatch
from tulle.resources.networking.http_actions import DerivePort, UnmatchedPreflights

EVERYTHING = """
hosts: [reviews, "*.example.com", 10.0.0.1]
gateways: [mesh, front, istio-system/front]
exportTo: [., other]
http:
- name: first
  match:
  - name: m
    uri: {prefix: /a}
    scheme: {exact: http}
    method: {exact: GET}
    authority: {regex: ".*[.]example[.]com"}
    headers: {end-user: {exact: jason}, x-any: {}, x-star: {regex: "*"}, x-empty: {exact: ""}, "@request.auth.claims.group": {exact: a}}
    withoutHeaders: {x-debug: {prefix: "y"}}
    queryParams: {v: {regex: "[0-9]+"}}
    ignoreUriCase: true
    port: 9080
    sourceLabels: {app: productpage, app.kubernetes.io/name: x}
    sourceNamespace: default
    gateways: [mesh]
    statPrefix: s
  route:
  - destination: {host: reviews, subset: v1, port: {number: 9080}}
    weight: 90
    headers: {response: {remove: [x-b]}}
  - destination: {host: reviews.default.svc.cluster.local}
    weight: 10
  timeout: 1h3m2.5s
  retries:
    attempts: 3
    perTryTimeout: 100ms
    retryOn: 5xx,connect-failure, 503
    retryRemoteLocalities: true
    retryIgnorePreviousHosts: false
    backoff: 10ms
  rewrite: {uri: /b, authority: b.example.com}
  fault:
    delay: {fixedDelay: 5s, percentage: {value: 12.5}}
    abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1}}
  mirror: {host: shadow}
  mirrorPercentage: {value: 50}
  corsPolicy:
    allowOrigins: [{exact: "https://a.example.com"}, {regex: "https://.*"}]
    allowMethods: [GET, POST]
    allowHeaders: [x-a, "*"]
    exposeHeaders: [x-b]
    maxAge: 24h
    allowCredentials: true
    unmatchedPreflights: IGNORE
  headers:
    request: {set: {x-a: "%REQ(x-b)%", Host: c.example.com}, add: {x-c: "100%%"}, remove: [x-d]}
    response: {set: {x-e: "1"}}
- match: [{uri: {exact: /old}}]
  redirect: {uri: /new, authority: d, scheme: https, derivePort: FROM_REQUEST_PORT, redirectCode: 308}
- match: [{uri: {exact: /teapot}}]
  directResponse: {status: 418, body: {string: short}}
- match: [{uri: {exact: /bytes}}]
  directResponse: {status: 200, body: {bytes: AAEC}}
- match: [{uri: {prefix: /team}}]
  delegate: {name: team, namespace: team-a}
- route: [{destination: {host: reviews}}]
  rewrite: {uriRegexRewrite: {match: "^/a/(.*)$", rewrite: /\\1}}
  mirrors: [{destination: {host: shadow}, percentage: {value: 1}}]
tls:
- match: [{sniHosts: [a.example.com], port: 443, destinationSubnets: [10.0.0.0/8], sourceLabels: {a: b}, gateways: [mesh]}]
  route: [{destination: {host: a}, weight: 1}]
tcp:
- match:
  - {port: 27017, destinationSubnets: [10.1.1.1], sourceSubnet: 10.0.0.0/8, sourceLabels: {a: b}, sourceNamespace: x, gateways: [mesh]}
  route: [{destination: {host: mongo}}]
"""


def test_every_field_is_read() -> None:
    spec: VirtualService = spec_of("VirtualService", EVERYTHING)
    rule = spec.http[0]
    match = rule.match[0]
    assert spec.hosts == ("reviews", "*.example.com", "10.0.0.1")
    assert match.uri == StringMatch(prefix="/a")
    assert {name for name, header in match.headers.items() if header.is_presence} == {"x-any", "x-star", "x-empty"}
    assert match.source_labels == {"app": "productpage", "app.kubernetes.io/name": "x"}
    assert rule.route[0].destination == Destination(host="reviews", subset="v1", port=PortSelector(number=9080))
    assert [destination.weight for destination in rule.route] == [90, 10]
    assert rule.timeout == timedelta(hours=1, minutes=3, seconds=2.5)
    assert rule.retries and rule.retries.per_try_timeout == timedelta(milliseconds=100)
    assert rule.fault and rule.fault.delay and rule.fault.delay.percentage == 12.5
    assert rule.mirror_percentage == 50.0
    assert rule.cors_policy and rule.cors_policy.unmatched_preflights is UnmatchedPreflights.IGNORE
    assert rule.cors_policy.max_age == timedelta(days=1)
    assert rule.headers and rule.headers.request and rule.headers.request.set == {"x-a": "%REQ(x-b)%", "Host": "c.example.com"}
    assert spec.http[1].redirect and spec.http[1].redirect.derive_port is DerivePort.FROM_REQUEST_PORT
    assert [r.direct_response.body.content() for r in spec.http if r.direct_response and r.direct_response.body] == [b"short", b"\0\1\2"]
    assert spec.http[4].delegate and spec.http[4].delegate.namespace == "team-a"
    assert spec.tls[0].match[0].sni_hosts == ("a.example.com",)
    assert spec.tcp[0].match[0].source_subnet == "10.0.0.0/8"


def test_values_are_frozen_and_hashable() -> None:
    spec = spec_of("VirtualService", EVERYTHING)
    assert hash(spec) == hash(spec_of("VirtualService", EVERYTHING))
    with pytest.raises(ValueError, match="frozen"):
        spec.hosts = ()


def test_snake_case_and_numbers_of_enums() -> None:
    camel = spec_of("VirtualService", "hosts: [a]\nhttp:\n- redirect: {uri: /b, redirectCode: 302, derivePort: FROM_REQUEST_PORT}")
    snake = spec_of("VirtualService", "hosts: [a]\nhttp:\n- redirect: {uri: /b, redirect_code: 302, derive_port: 1}")
    assert camel == snake


def test_null_is_unset() -> None:
    assert (
        spec_of("VirtualService", "hosts: [a]\nhttp: [{route: [{destination: {host: a}}], timeout: null, match: ~}]\ntcp:").http[0].match
        == ()
    )


BAD = """
{}
=>
4: spec: set at least one of http, tls, tcp
====
[]
=>
4: spec: must be a mapping
====
hosts: a
http: {}
=>
5: spec.hosts: must be a list
6: spec.http: must be a list
====
hosts: [1, true, ~]
tcp: [3]
=>
5: spec.hosts[0]: must be text, not 1
5: spec.hosts[1]: must be text, not true
5: spec.hosts[2]: must be text, not null
6: spec.tcp[0]: must be a mapping
====
hosts: [a..b, 'a*', '*.*.c', 'a b', 'http://a', '', a_b, '*']
http: [{route: [{destination: {host: a}}]}]
=>
5: spec.hosts[0]: must be a host name, not 'a..b'
5: spec.hosts[1]: must be a host name in which '*' stands only at the beginning, not 'a*'
5: spec.hosts[2]: must be a host name in which '*' stands only at the beginning, not '*.*.c'
5: spec.hosts[3]: must be a host name, not 'a b'
5: spec.hosts[4]: must be a host name, not 'http://a'
5: spec.hosts[5]: must be a host name, not ''
5: spec.hosts[6]: must be a host name, not 'a_b'
====
hosts: [a, '*', a]
http: [{route: [{destination: {host: a}}]}]
=>
5: spec.hosts[2]: 'a' is given twice
5: spec.hosts[1]: "*" is for gateways only: name a gateway in gateways, or name the hosts
====
gateways: [x]
tcp: [{route: [{destination: {host: a}}]}]
=>
5: spec.gateways: must not be set without hosts: a delegate has http rules only
6: spec.tcp: must not be set without hosts: a delegate has http rules only
====
hosts: [a]
gateways: [a/b/c, A/b, '']
exportTo: [., ., '*', '~', A]
http: [{route: [{destination: {host: a}}]}]
=>
6: spec.gateways[0]: must be "mesh", "name" or "namespace/name", not 'a/b/c'
6: spec.gateways[1]: must be "mesh", "name" or "namespace/name", not 'A/b'
6: spec.gateways[2]: must be "mesh", "name" or "namespace/name", not ''
7: spec.exportTo[4]: must be ".", "*" or a namespace, not 'A'
====
hosts: [a]
exportTo: [., ., '*', '~']
http: [{route: [{destination: {host: a}}]}]
=>
6: spec.exportTo[1]: '.' is given twice
6: spec.exportTo[2]: "*" must stand alone
6: spec.exportTo[3]: "~" is for ServiceEntry only
====
hosts: [a]
http:
- match: []
  timout: 3s
  rout: []
=>
7: spec.http[0]: set one of route, redirect, directResponse, delegate
8: spec.http[0].timout: unknown field "timout"; did you mean "timeout"?
9: spec.http[0].rout: unknown field "rout"; did you mean "route"?
====
hosts: [a]
http:
- route: [{destination: {host: a}}]
  redirect: {uri: /b}
  fault: {}
  rewrite: {}
=>
7: spec.http[0]: set only one of route, redirect
9: spec.http[0].fault: must not stand beside redirect
9: spec.http[0].fault: set at least one of delay, abort
10: spec.http[0].rewrite: must not stand beside redirect
10: spec.http[0].rewrite: set at least one of uri, authority, uriRegexRewrite
====
hosts: [a]
http:
- match:
  - uri: {prefix: /, exact: /a}
  - uri: {}
  - uri: {regex: '(a'}
  - uri: {prefix: ''}
  - uri: /a
  route: [{destination: {host: a}}]
=>
8: spec.http[0].match[0].uri: set only one of exact, prefix
9: spec.http[0].match[1].uri: set one of exact, prefix, regex
10: spec.http[0].match[2].uri.regex: must be a regular expression in RE2 syntax: missing ): (a
11: spec.http[0].match[3].uri.prefix: must not be empty
12: spec.http[0].match[4].uri: must be a mapping
====
hosts: [a]
http:
- match:
  - headers: {'a b': {exact: x}, c: {regex: '(?=x)'}}
    queryParams: {q: {exacts: x}}
    port: 0
  - sourceLabels: {'a b': 'c d'}
  route: [{destination: {host: a}}]
=>
8: spec.http[0].match[0].headers.c.regex: must be a regular expression in RE2 syntax: invalid perl operator: (?=
9: spec.http[0].match[0].queryParams.q.exacts: unknown field "exacts"; did you mean "exact"?
10: spec.http[0].match[0].port: must be between 1 and 65535, not 0
11: spec.http[0].match[1].sourceLabels["a b"]: is no label key: a key is letters, digits, '-', '_', '.', after an optional prefix and '/'
11: spec.http[0].match[1].sourceLabels["a b"]: must be a label value (letters, digits, '-', '_' and '.', at most 63), not 'c d'
====
hosts: [a]
http:
- match: [{headers: {'a b': {exact: x}}}]
  route: [{destination: {host: a}}]
=>
7: spec.http[0].match[0].headers["a b"]: must be a header name, not 'a b'
====
hosts: [a]
http:
- route:
  - destination: {hots: a}
    weigth: 1
  - destination: {host: '*', subset: V1, port: 80}
    weight: -1
=>
8: spec.http[0].route[0].destination.hots: unknown field "hots"; did you mean "host"?
8: spec.http[0].route[0].destination.host: required
9: spec.http[0].route[0].weigth: unknown field "weigth"; did you mean "weight"?
10: spec.http[0].route[1].destination.host: must not be * alone
10: spec.http[0].route[1].destination.subset: must be a name of lower-case letters, digits and '-', at most 63, not 'V1'
10: spec.http[0].route[1].destination.port: must be a mapping
11: spec.http[0].route[1].weight: must be between 0 and 2147483647, not -1
====
hosts: [a]
http:
- route:
  - destination: {host: a}
  - destination: {host: b}
    weight: 0
=>
7: spec.http[0].route: the weights must add up to more than 0
====
hosts: [a]
http:
- route:
  - {destination: {host: a}, weight: 2147483647}
  - {destination: {host: b}, weight: 2147483647}
  - {destination: {host: c}, weight: 2}
- route: [{destination: {host: a}}]
  timeout: 500us
=>
7: spec.http[0].route: the weights must add up to at most 4294967295
12: spec.http[1].timeout: must be 0s or at least 1ms, not '500us'
====
hosts: ["*"]
gateways: [edge, mesh]
http:
- route: [{destination: {host: a}}]
=>
5: spec.hosts[0]: "*" is for gateways only: take mesh out of gateways, or name the hosts
====
hosts: [a]
http:
- rewrite: {uri: " "}
  route: [{destination: {host: a}}]
=>
7: spec.http[0].rewrite.uri: must not be blank: to take a prefix away, match "/prefix/" and rewrite it to "/"
====
hosts: [a]
http:
- route: [{destination: {host: a}}]
  timeout: 5
  retries: {attempts: 0, perTryTimeout: 0s, retryOn: 'never,99,700'}
=>
8: spec.http[0].timeout: must be a duration such as "1.5s", "100ms" or "1h30m", not 5; write "5s" for seconds
9: spec.http[0].retries.perTryTimeout: must be at least 1ms, not '0s'
9: spec.http[0].retries.retryOn: 'never' is no condition to retry on
====
hosts: [a]
http:
- route: [{destination: {host: a}}]
  retries: {perTryTimeout: 1s}
=>
8: spec.http[0].retries.attempts: must be at least 1 where other fields of the retry policy are set; 0 turns retries off
====
hosts: [a]
http:
- route: [{destination: {host: a}}]
  fault:
    delay: {fixedDelay: 5, percentage: 101, fixed_delay: 3s}
    abort: {httpStatus: 99, grpcStatus: UNAVAILABEL, percentage: {valu: 3}}
=>
9: spec.http[0].fault.delay.fixed_delay: given twice, in two spellings
9: spec.http[0].fault.delay.fixedDelay: must be a duration such as "1.5s", "100ms" or "1h30m", not 5; write "5s" for seconds
9: spec.http[0].fault.delay.percentage: must be between 0 and 100, not 101
10: spec.http[0].fault.abort: set only one of httpStatus, grpcStatus
10: spec.http[0].fault.abort.httpStatus: must be between 200 and 599, not 99
10: spec.http[0].fault.abort.grpcStatus: must be the name of a gRPC status such as UNAVAILABLE, not 'UNAVAILABEL'
10: spec.http[0].fault.abort.percentage.valu: unknown field "valu"; did you mean "value"?
====
hosts: [a]
http:
- route: [{destination: {host: a}}]
  rewrite: {uri: /a, uriRegexRewrite: {match: '[', rewrite: b}}
  mirror: {host: m}
  mirrors: [{percentage: {value: -1}}]
  mirrorPercentage: {value: x}
=>
7: spec.http[0]: set only one of mirror, mirrors
8: spec.http[0].rewrite: set only one of uri, uriRegexRewrite
8: spec.http[0].rewrite.uriRegexRewrite.match: must be a regular expression in RE2 syntax: missing ]: [
10: spec.http[0].mirrors[0].destination: required
10: spec.http[0].mirrors[0].percentage.value: must be between 0 and 100, not -1
11: spec.http[0].mirrorPercentage.value: must be a number, not 'x'
====
hosts: [a]
http:
- redirect: {redirectCode: 200, scheme: ftp}
- redirect: {uri: /b, port: 80, derivePort: X}
=>
7: spec.http[0].redirect.scheme: must be http or https, not 'ftp'
7: spec.http[0].redirect.redirectCode: must be one of 301, 302, 303, 307, 308, not 200
8: spec.http[1].redirect: set only one of port, derivePort
8: spec.http[1].redirect.derivePort: must be one of FROM_PROTOCOL_DEFAULT, FROM_REQUEST_PORT, not 'X'
====
hosts: [a]
http:
- redirect: {redirectCode: 301}
- directResponse: {status: 700, body: {string: a, bytes: '?'}}
- directResponse: {body: hi}
=>
7: spec.http[0].redirect: set at least one of uri, prefixRewrite, authority, scheme, port, derivePort
8: spec.http[1].directResponse.status: must be between 200 and 599, not 700
8: spec.http[1].directResponse.body: set only one of string, bytes
8: spec.http[1].directResponse.body.bytes: must be text in base64, not '?'
9: spec.http[2].directResponse.status: required
9: spec.http[2].directResponse.body: must be a mapping
====
hosts: [a]
http:
- route: [{destination: {host: a}}]
  corsPolicy: {allowOrigins: [a, {}], allowMethods: [get], allowHeaders: ['a b'], maxAge: 1.5s, unmatchedPreflights: MAYBE}
=>
8: spec.http[0].corsPolicy.allowOrigins[0]: must be a mapping
8: spec.http[0].corsPolicy.allowOrigins[1]: set one of exact, prefix, regex
8: spec.http[0].corsPolicy.allowMethods[0]: must be an HTTP method in capitals, or *, not 'get'
8: spec.http[0].corsPolicy.allowHeaders[0]: must be a header name, not 'a b'
8: spec.http[0].corsPolicy.unmatchedPreflights: must be one of UNSPECIFIED, FORWARD, IGNORE, not 'MAYBE'
====
hosts: [a]
http:
- route: [{destination: {host: a}}]
  corsPolicy: {maxAge: 1.5s}
=>
8: spec.http[0].corsPolicy.maxAge: must be whole seconds
====
hosts: [a]
http:
- route: [{destination: {host: a}}]
  headers:
    request:
      set: {"a b": x, c: "d\\u0000", ":path": /, e: 1}
      add: {f: "50%"}
      remove: [Host]
=>
10: spec.http[0].headers.request.set.e: must be text, not 1
11: spec.http[0].headers.request.add.f: uses % otherwise than in %VARIABLE%; write %% for a percent sign, not '50%'
12: spec.http[0].headers.request.remove[0]: must not be the host
====
hosts: [a]
http:
- route: [{destination: {host: a}}]
  headers:
    request:
      set: {"a b": x, c: "d\\u0000", ":path": /, ":authority": x}
=>
10: spec.http[0].headers.request.set["a b"]: must be a header name, not 'a b'
10: spec.http[0].headers.request.set.c: must not contain control characters
10: spec.http[0].headers.request.set[":path"]: must be a header name, not ':path'
====
hosts: [a]
http:
- route: [{destination: {host: a}}]
  headers: {response: {set: {host: x}}}
=>
8: spec.http[0].headers.response.set.host: a response has no host
====
hosts: [a]
http:
- route: [{destination: {host: a}}]
  rewrite: {uriRegexRewrite: {match: '(a)', rewrite: '\\1 \\2 \\\\ \\x'}}
=>
8: spec.http[0].rewrite.uriRegexRewrite.rewrite: refers to group 2, but match has 1
8: spec.http[0].rewrite.uriRegexRewrite.rewrite: uses \\x; write \\\\ for a backslash, \\1 for the first group
====
hosts: [a.example.com]
tls:
- match: [{sniHosts: [b.example.com], port: 70000}]
- route: [{destination: {host: a}}]
=>
7: spec.tls[0]: set at least one of route
7: spec.tls[0].match[0].port: must be between 1 and 65535, not 70000
8: spec.tls[1].match: required
====
hosts: [a.example.com, '*.b.com']
tls:
- match: [{sniHosts: [x.b.com, b.example.com]}]
  route: [{destination: {host: a}}]
=>
7: spec.tls[0].match[0].sniHosts[1]: 'b.example.com' is none of the hosts of this VirtualService
====
hosts: ['*.b.com']
tls:
- match: [{sniHosts: ['*-eu.b.com', '*.b.com']}]
  route: [{destination: {host: a}}]
=>
7: spec.tls[0].match[0].sniHosts[0]: must be a whole name, or begin with '*.', where TLS is told by its server name, not '*-eu.b.com'
====
hosts: [a]
tcp:
- match: [{destinationSubnets: [10.0.0.0/99], sourceSubnet: x}]
  route: []
=>
7: spec.tcp[0]: set at least one of route
7: spec.tcp[0].match[0].destinationSubnets[0]: must be an IP address or a range such as 10.0.0.0/8, not '10.0.0.0/99'
7: spec.tcp[0].match[0].sourceSubnet: must be an IP address or a range such as 10.0.0.0/8, not 'x'
"""


@pytest.mark.parametrize(("spec", "expected"), cases(BAD))
def test_violations(spec: str, expected: list[str]) -> None:
    assert wrong("VirtualService", spec) == expected
