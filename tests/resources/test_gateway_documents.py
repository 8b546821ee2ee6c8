"""Gateway: what is accepted and what is said of the rest."""

from __future__ import annotations

import pytest

from support.reading import cases, spec_of, wrong
from tulle.resources.networking import Gateway
from tulle.resources.networking.tls import ServerTlsMode, TlsVersion

EVERYTHING = """
selector: {istio: ingressgateway}
servers:
- name: plain
  port: {number: 80, name: http, protocol: HTTP}
  hosts: ["*", ./a.example.com, team/*.example.com, "*/b.example.com"]
  bind: 127.0.0.1
  tls: {httpsRedirect: true}
- port: {number: 443, name: https, protocol: https, targetPort: 8443}
  hosts: [a.example.com]
  defaultEndpoint: 127.0.0.1:8080
  tls:
    mode: SIMPLE
    credentialName: cert
    caCrl: /crl
    minProtocolVersion: TLSV1_2
    maxProtocolVersion: TLSV1_3
    cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]
    ecdhCurves: [X25519]
    subjectAltNames: [x]
    verifyCertificateSpki: [NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=]
    verifyCertificateHash: [e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855]
    insecureSkipVerify: false
- port: {number: 444, name: mutual, protocol: HTTPS}
  hosts: [b.example.com]
  tls: {mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca}
- port: {number: 445, name: several, protocol: HTTPS}
  hosts: [c.example.com]
  tls: {mode: OPTIONAL_MUTUAL, credentialNames: [a, b], caCertCredentialName: d}
- port: {number: 446, name: files, protocol: HTTPS}
  hosts: [d.example.com]
  tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: /c, privateKey: /k, caCertificates: /ca}]}
- port: {number: 15443, name: tls, protocol: TLS}
  hosts: ["*.local"]
  tls: {mode: AUTO_PASSTHROUGH}
- port: {number: 447, name: mesh, protocol: TLS}
  hosts: ["*"]
  tls: {mode: ISTIO_MUTUAL}
- port: {number: 31400, name: tcp, protocol: TCP}
  hosts: ["*"]
"""


def test_every_field_is_read() -> None:
    spec: Gateway = spec_of("Gateway", EVERYTHING)
    assert spec.selector == {"istio": "ingressgateway"}
    assert [server.port.number for server in spec.servers] == [80, 443, 444, 445, 446, 15443, 447, 31400]
    tls = spec.servers[1].tls
    assert tls and tls.mode is ServerTlsMode.SIMPLE and tls.min_protocol_version is TlsVersion.TLSV1_2
    assert spec.servers[0].tls and spec.servers[0].tls.https_redirect


BAD = """
selector: {a: b}
=>
4: spec.servers: must have at least one item
====
servers: [{}]
=>
5: spec.servers[0].port: required
5: spec.servers[0].hosts: required
====
servers:
- port: {number: 80, protocol: HTTPX}
  hosts: []
  bind: localhost
=>
6: spec.servers[0].port.protocol: must be one of GRPC, GRPC-WEB, HTTP, HTTP2, HTTPS, HTTP_PROXY, MONGO, MYSQL, REDIS, TCP, TLS, \
UDP, not 'HTTPX'
6: spec.servers[0].port.name: required
8: spec.servers[0].bind: must be an IP address or unix:///path, not 'localhost'
====
servers:
- {port: {number: 80, protocol: HTTP, name: a}, hosts: []}
=>
6: spec.servers[0].hosts: must have at least one item
====
servers:
- {port: {number: 80, protocol: HTTP, name: a}, hosts: [a/b/c, "UP/x", "a*", "x/"]}
=>
6: spec.servers[0].hosts[0]: namespace before '/' must be a name of lower-case letters, digits and '-', at most 63, not 'a/b'
6: spec.servers[0].hosts[1]: namespace before '/' must be a name of lower-case letters, digits and '-', at most 63, not 'UP'
6: spec.servers[0].hosts[2]: must be a host name in which '*' stands only at the beginning, not 'a*'
6: spec.servers[0].hosts[3]: must be a host name, not ''
====
servers:
- {name: x, port: {number: 80, protocol: HTTP, name: a}, hosts: ["*"]}
- {name: x, port: {number: 81, protocol: HTTP, name: a}, hosts: ["*"]}
=>
7: spec.servers[1].name: 'x' is taken by an earlier item
7: spec.servers[1].port.name: 'a' is taken by an earlier item
====
servers:
- {port: {number: 443, protocol: HTTPS, name: a}, hosts: ["*"]}
- {port: {number: 80, protocol: HTTP, name: b}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: c}}
- {port: {number: 90, protocol: TCP, name: c}, hosts: ["*"], tls: {httpsRedirect: true}}
=>
6: spec.servers[0].tls: required where the protocol is HTTPS
7: spec.servers[1].tls: takes only httpsRedirect where the protocol is HTTP
8: spec.servers[2].tls: must not be set where the protocol is TCP
====
servers:
- {port: {number: 1, protocol: HTTPS, name: a}, hosts: ["*"], tls: {mode: SIMPLE}}
- {port: {number: 2, protocol: HTTPS, name: b}, hosts: ["*"], tls: {mode: SIMPLE, serverCertificate: /c}}
- {port: {number: 3, protocol: HTTPS, name: c}, hosts: ["*"], tls: {mode: MUTUAL, privateKey: /k}}
- {port: {number: 4, protocol: HTTPS, name: d}, hosts: ["*"], tls: {mode: ISTIO_MUTUAL, credentialName: c}}
- {port: {number: 5, protocol: HTTPS, name: e}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: c, credentialNames: [d]}}
- {port: {number: 6, protocol: HTTPS, name: f}, hosts: ["*"], tls: {mode: SIMPLE, credentialNames: [a, b, c]}}
- {port: {number: 7, protocol: HTTPS, name: g}, hosts: ["*"], tls: {mode: SIMPLE, tlsCertificates: [{}]}}
- {port: {number: 8, protocol: HTTPS, name: h}, hosts: ["*"], tls: {mode: TLS, minProtocolVersion: TLSV2}}
=>
6: spec.servers[0].tls: mode SIMPLE needs credentialName, or serverCertificate and privateKey
7: spec.servers[1].tls.privateKey: required where mode is SIMPLE and credentialName is not set
8: spec.servers[2].tls.serverCertificate: required where mode is MUTUAL and credentialName is not set
8: spec.servers[2].tls: mode MUTUAL needs credentialName or caCertificates, to check the certificates of callers
9: spec.servers[3].tls.credentialName: must not be set where mode is ISTIO_MUTUAL: the mesh brings its own certificates
10: spec.servers[4].tls: set only one of credentialName, credentialNames
11: spec.servers[5].tls.credentialNames: must have at most 2 items
12: spec.servers[6].tls.tlsCertificates[0].serverCertificate: required
12: spec.servers[6].tls.tlsCertificates[0].privateKey: required
13: spec.servers[7].tls.mode: must be one of PASSTHROUGH, SIMPLE, MUTUAL, AUTO_PASSTHROUGH, ISTIO_MUTUAL, OPTIONAL_MUTUAL, not 'TLS'
13: spec.servers[7].tls.minProtocolVersion: must be one of TLS_AUTO, TLSV1_0, TLSV1_1, TLSV1_2, TLSV1_3, not 'TLSV2'
====
servers:
- port: {number: 1, protocol: HTTPS, name: a}
  hosts: ["*"]
  tls: {mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}
=>
8: spec.servers[0].tls.maxProtocolVersion: must not be lower than minProtocolVersion
====
servers:
- port: {number: 1, protocol: TLS, name: a}
  hosts: [a.b, ./*-eu.b, "*.b"]
  tls: {mode: PASSTHROUGH}
- {port: {number: 2, protocol: TLS, name: b}, hosts: ["*cal"], tls: {mode: AUTO_PASSTHROUGH}}
- {port: {number: 3, protocol: HTTP, name: c}, hosts: ["*-eu.b"]}
=>
7: spec.servers[0].hosts[1]: must be a whole name, or begin with '*.', where TLS is told by its server name, not '*-eu.b'
====
servers:
- port: {number: 1, protocol: HTTPS, name: a}
  hosts: ["*"]
  tls: {mode: SIMPLE, credentialName: c, maxProtocolVersion: TLSV1_1}
- port: {number: 2, protocol: HTTPS, name: b}
  hosts: ["*"]
  tls: {mode: MUTUAL, credentialName: c, verifyCertificateSpki: [abc], verifyCertificateHash: [abc]}
=>
8: spec.servers[0].tls.maxProtocolVersion: must not be lower than minProtocolVersion, which is TLSV1_2 if it is not set
11: spec.servers[1].tls.verifyCertificateSpki[0]: must be a SHA-256 in base64 (44 characters), not 'abc'
11: spec.servers[1].tls.verifyCertificateHash[0]: must be a SHA-256 in 64 hexadecimal digits, not 'abc'
"""


@pytest.mark.parametrize(("spec", "expected"), cases(BAD))
def test_violations(spec: str, expected: list[str]) -> None:
    assert wrong("Gateway", spec) == expected
