"""Which documents have a part in what a proxy is told: by that they are said to be in force, or are to blame."""

from __future__ import annotations

from support.certificates import Ca, tls_secret
from support.compiled import built, documents, gateway, instance, sidecar
from tulle.compile import view
from tulle.model.proxy import InboundPort
from tulle.model.service import Protocol
from tulle.translate import Translator

DOCUMENTS = f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: 8443, name: https, protocol: HTTPS}}, hosts: ["*"], tls: {{mode: SIMPLE, credentialName: edge}}}}
---
{tls_secret("edge", Ca().issue("edge.example"))}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: all}}
spec: {{hosts: ["*"], gateways: [edge], http: [{{match: [{{uri: {{prefix: /}}}}], delegate: {{name: part}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: part}}
spec: {{http: [{{route: [{{destination: {{host: web}}, weight: 1}}, {{destination: {{host: far.example}}, weight: 1}}]}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec: {{host: web, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: far}}
spec:
  hosts: [far.example]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  workloadSelector: {{labels: {{app: far}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: far}}
spec: {{address: 10.1.1.1, labels: {{app: far}}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: web}}
spec:
  workloadSelector: {{labels: {{app: web}}}}
  ingress: [{{port: {{number: 80, name: http, protocol: HTTP}}, defaultEndpoint: "127.0.0.1:9000"}}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec: {{egress: [{{hosts: ["./*"]}}]}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: patch}}
spec:
  configPatches:
  - {{applyTo: LISTENER, match: {{context: SIDECAR_INBOUND}}, patch: {{operation: MERGE, value: {{tcp_backlog_size: 7}}}}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: guard}}
spec: {{selector: {{matchLabels: {{app: web}}}}, action: DENY, rules: [{{to: [{{operation: {{paths: [/no]}}}}]}}]}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: nobody, namespace: istio-system}}
spec: {{selector: {{matchLabels: {{istio: ingressgateway}}}}}}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens}}
spec: {{jwtRules: [{{issuer: me, jwks: '{{"keys": []}}'}}]}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: strict}}
spec: {{mtls: {{mode: STRICT}}}}
---
apiVersion: tulle.dev/v1
kind: Authentication
metadata: {{name: keys}}
spec: {{selector: {{matchLabels: {{app: web}}}}, apiKeys: {{secret: keys}}}}
---
apiVersion: tulle.dev/v1
kind: RateLimit
metadata: {{name: few}}
spec: {{selector: {{matchLabels: {{app: web}}}}, limits: [{{requests: 1, per: second}}]}}
---
apiVersion: tulle.dev/v1
kind: Guard
metadata: {{name: small}}
spec: {{selector: {{matchLabels: {{app: web}}}}, maxBodyBytes: 7}}
---
apiVersion: tulle.dev/v1
kind: Firewall
metadata: {{name: wall}}
spec: {{selector: {{matchLabels: {{app: web}}}}, mode: BLOCK}}
"""


def test_every_document_in_force_has_a_part_in_what_some_proxy_is_told() -> None:
    result = built(DOCUMENTS, instance("web", "v1"), instance("shop", "v1"))
    translator = Translator()
    port = InboundPort(service_port=9080, listen=20000, target=9080, protocol=Protocol.HTTP, listen_address="127.0.0.1")
    nodes = (gateway(), sidecar(app="web", inbound=(port,)), sidecar(app="shop", inbound=(port,)))
    told = {s.key for node in nodes for entry in translator.snapshot(view(result.mesh, node)) for s in entry.sources}
    assert set(documents(DOCUMENTS)) <= told
