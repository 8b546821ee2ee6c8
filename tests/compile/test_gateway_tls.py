"""Which certificates a Gateway's TLS settings mean where they say several things at once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.certificates import Ca, secret, tls_secret
from support.compiled import built, gateway, instance
from tulle.compile import view
from tulle.model.mesh import MeshSettings
from tulle.model.routing import Redirect
from tulle.model.service import Protocol
from tulle.model.tls import MESH_ROOTS, DownstreamTls, TlsVersion

CA = Ca()
SECRETS = "---\n".join((tls_secret("web", CA.issue("web"), CA), secret("callers", ca_crt=CA.pem)))
SERVER = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 8443, name: https, protocol: HTTPS}}, hosts: ["*"], tls: {tls}}}]
"""


def served(tls: str) -> DownstreamTls:
    seen = view(built(SECRETS + SERVER.format(tls=tls)).mesh, gateway())
    (chain,) = seen.listeners[0].chains
    assert chain.tls
    return chain.tls


def authority(tls: str) -> str:
    trust = served(tls).trust
    assert trust
    return trust.authority


FILES = "serverCertificate: /web.crt, privateKey: /web.key, caCertificates: /ca.crt"


def test_secrets_go_before_files() -> None:
    both = served(f"{{mode: MUTUAL, credentialName: web, {FILES}}}")
    assert both == served("{mode: MUTUAL, credentialName: web}")
    assert both.certificates == ("kubernetes-gateway://default/web",)


def test_callers_are_checked_against_the_secret_that_is_named_for_it() -> None:
    assert authority(f"{{mode: MUTUAL, {FILES}, caCertCredentialName: callers}}") == "kubernetes-gateway://default/callers-cacert"
    assert authority("{mode: MUTUAL, credentialName: web, caCertCredentialName: callers}") == "kubernetes-gateway://default/callers-cacert"
    assert authority(f"{{mode: MUTUAL, {FILES}}}").startswith("file-root:/ca.crt")


REDIRECTING = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: plain}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ["*"]
  gateways: [edge, plain]
  http:
  - {match: [{uri: {prefix: /a}}], redirect: {authority: a, derivePort: FROM_PROTOCOL_DEFAULT}}
  - {match: [{uri: {prefix: /b}}], redirect: {scheme: http, derivePort: FROM_PROTOCOL_DEFAULT}}
  - {match: [{uri: {prefix: /c}}], redirect: {scheme: https, derivePort: FROM_PROTOCOL_DEFAULT}}
  - {match: [{uri: {prefix: /d}}], redirect: {authority: a, derivePort: FROM_REQUEST_PORT}}
"""


def test_redirects_know_whether_the_request_came_over_tls() -> None:
    seen = view(built(SECRETS + SERVER.format(tls="{mode: SIMPLE, credentialName: web}") + REDIRECTING).mesh, gateway())
    tables = {table.name.partition(".")[0]: table for table in seen.route_tables}
    ports = {
        name: [route.action.port for host in table.virtual_hosts for route in host.routes if isinstance(route.action, Redirect)]
        for name, table in tables.items()
    }
    assert ports == {"http": [80, 80, 443, 8080], "https": [443, 80, 443, 8443]}


def test_a_gateway_with_the_meshs_certificates_has_settings_too() -> None:
    more = "cipherSuites: [ECDHE-ECDSA-AES128-GCM-SHA256], ecdhCurves: [P-256], minProtocolVersion: TLSV1_1, maxProtocolVersion: TLSV1_2"
    found = served(f"{{mode: ISTIO_MUTUAL, {more}, subjectAltNames: ['spiffe://cluster.local/ns/a/sa/b']}}")
    assert (found.cipher_suites, found.curves) == (("ECDHE-ECDSA-AES128-GCM-SHA256",), ("P-256",))
    assert (found.minimum, found.maximum) == (TlsVersion.V1_1, TlsVersion.V1_2)
    assert found.trust
    assert (found.trust.authority, found.trust.names, found.trust.domains) == (MESH_ROOTS, ("spiffe://cluster.local/ns/a/sa/b",), ())
    plain = served("{mode: ISTIO_MUTUAL}").trust
    assert plain
    assert (plain.names, plain.domains) == ((), ("cluster.local",))


@pytest.mark.parametrize(
    "policy", ["", "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: all}\nspec: {rules: [{}]}\n"]
)
def test_connections_with_the_meshs_certificates_end_whether_there_are_policies_or_not(policy: str) -> None:
    life = timedelta(hours=1)
    found = built(SERVER.format(tls="{mode: ISTIO_MUTUAL}") + policy, settings=MeshSettings(connection_life=life))
    (chain,) = view(found.mesh, gateway()).listeners[0].chains
    assert chain.serve.life == life


ANY = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: any}
spec: {hosts: ["*.example.com"], resolution: NONE, ports: [{number: 443, name: tls, protocol: TLS}]}
"""


def test_datagrams_and_wildcards_are_no_hindrance_to_others_behind_a_gateway_that_passes_all_on() -> None:
    dns = instance("dns", number=53, protocol=Protocol.UDP)
    server = SERVER.format(tls="{mode: AUTO_PASSTHROUGH}").replace("HTTPS", "TLS")
    seen = view(built(server + ANY, instance("web"), dns).mesh, gateway())
    assert [name for listener in seen.listeners for c in listener.chains for name in c.server_names if "*" in name] == []
    assert [c.name for c in seen.clusters if c.name.startswith("outbound_")] == ["outbound_.9080_._.web.default.svc.cluster.local"]
