"""Sidecar: what is accepted and what is said of the rest."""

from __future__ import annotations

import pytest

from support.reading import cases, spec_of, wrong
from tulle.resources.networking import Sidecar
from tulle.resources.networking.sidecar import CaptureMode, OutboundMode

EVERYTHING = """
workloadSelector: {labels: {app: a}}
ingress:
- port: {number: 9080, protocol: HTTP, name: x, targetPort: 1}
  bind: 127.0.0.1
  captureMode: NONE
  defaultEndpoint: 127.0.0.1:8080
  tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}
  connectionPool: {http: {http2MaxRequests: 5}}
- port: {number: 9081}
  defaultEndpoint: unix:///run/x.sock
egress:
- port: {number: 3306, protocol: MYSQL, name: m}
  bind: 127.0.0.1
  captureMode: DEFAULT
  hosts: [./*]
- hosts: [./*, istio-system/*, "*/*.example.com", "~/*", team/a.team.svc.cluster.local]
inboundConnectionPool: {tcp: {maxConnections: 1}}
outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: gw.example.com, subset: v1, port: {number: 80}}}
"""


def test_every_field_is_read() -> None:
    spec: Sidecar = spec_of("Sidecar", EVERYTHING)
    assert spec.ingress[0].capture_mode is CaptureMode.NONE
    assert spec.egress[1].hosts[0] == "./*"
    assert spec.outbound_traffic_policy and spec.outbound_traffic_policy.mode is OutboundMode.ALLOW_ANY


BAD = """
workloadSelector: {labels: {}}
=>
4: spec: set at least one of ingress, egress, outboundTrafficPolicy, inboundConnectionPool
====
egress: [{}, {hosts: []}, {hosts: [a, "A/b", "~/b", "*/**"]}]
=>
5: spec.egress[0].hosts: required
5: spec.egress[1].hosts: must have at least one item
5: spec.egress[2].hosts[0]: must be "namespace/host", such as "./*" or "*/a", not 'a'
5: spec.egress[2].hosts[1]: namespace before '/' must be a name of lower-case letters, digits and '-', at most 63, not 'A'
5: spec.egress[2].hosts[2]: must be "~/*" where the namespace is "~", not '~/b'
5: spec.egress[2].hosts[3]: must be a host name in which '*' stands only at the beginning, not '**'
====
egress: [{hosts: [./*]}, {hosts: [./*]}]
=>
5: spec.egress[1]: needs a port: egress[0] has none already
====
egress: [{hosts: [./*]}, {hosts: [./*], port: {number: 80}}]
=>
5: spec.egress[0]: must be the last item, as it has no port
====
egress: [{hosts: [./*], port: {number: 0, protocol: HTTP}}, {hosts: [./*], port: {number: 0, protocol: TCP}, bind: "unix:///run/x"}]
=>
5: spec.egress[0].port.number: must be between 1 and 65535 where bind is no Unix socket
5: spec.egress[1].port.protocol: must be one of HTTP, HTTP2, HTTP_PROXY, GRPC, GRPC-WEB where the port's number is 0
====
ingress:
- {port: {number: 80}, defaultEndpoint: 10.0.0.1:80}
- {port: {number: 80}, tls: {mode: AUTO_PASSTHROUGH, httpsRedirect: true}}
outboundTrafficPolicy: {egressProxy: {host: a}}
=>
6: spec.ingress[0].defaultEndpoint: must be "127.0.0.1:port", "0.0.0.0:port" or "unix:///path", not '10.0.0.1:80'
7: spec.ingress[1].tls.mode: must not be AUTO_PASSTHROUGH in a Sidecar
7: spec.ingress[1].tls.httpsRedirect: is not supported in a Sidecar
8: spec.outboundTrafficPolicy.egressProxy.port: required
====
ingress:
- {port: {number: 80}, defaultEndpoint: unix:///aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}
=>
6: spec.ingress[0].defaultEndpoint: must be a path of at most 107 bytes
====
ingress: [{port: {number: 80}}, {port: {number: 80}}]
=>
5: spec.ingress[1].port.number: 80 is taken by an earlier item
====
outboundTrafficPolicy: {egressProxy: {host: a, port: {number: 80}}}
=>
5: spec.outboundTrafficPolicy.egressProxy: needs mode ALLOW_ANY
"""


@pytest.mark.parametrize(("spec", "expected"), cases(BAD))
def test_violations(spec: str, expected: list[str]) -> None:
    assert wrong("Sidecar", spec) == expected
