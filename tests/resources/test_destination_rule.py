"""DestinationRule: what is accepted and what is said of the rest."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.reading import cases, spec_of, wrong
from tulle.resources.networking import DestinationRule
from tulle.resources.networking.tls import ClientTlsMode
from tulle.resources.networking.traffic_policy import H2UpgradePolicy, SimpleLb

EVERYTHING = """
host: "*.example.com"
exportTo: ["*"]
workloadSelector: {matchLabels: {app: a}}
trafficPolicy:
  loadBalancer:
    simple: ROUND_ROBIN
    warmup: {duration: 30s, minimumPercent: 5.0, aggression: 1.5}
    localityLbSetting:
      enabled: true
      failover: [{from: a, to: b}]
      failoverPriority: [topology.istio.io/network]
    zoneAwareLbSetting: {enabled: true, minClusterSize: 6, failover: [{from: a, to: b}], failoverPriority: [x]}
  connectionPool:
    tcp:
      maxConnections: 100
      connectTimeout: 30ms
      idleTimeout: 0s
      maxConnectionDuration: 1h
      tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}
    http:
      http1MaxPendingRequests: 1
      http2MaxRequests: 2
      maxRequestsPerConnection: 3
      maxRetries: 4
      idleTimeout: 5s
      h2UpgradePolicy: UPGRADE
      maxConcurrentStreams: 6
      http2KeepAlive: {interval: 15s, timeout: 5s}
  outlierDetection:
    splitExternalLocalOriginErrors: true
    consecutiveLocalOriginFailures: 3
    consecutiveGatewayErrors: 4
    consecutive5xxErrors: 7
    interval: 5m
    baseEjectionTime: 15m
    maxEjectionPercent: 100
    minHealthPercent: 0
    outlierDetectionHttpErrorCodes: [429]
  tls:
    mode: MUTUAL
    clientCertificate: /c
    privateKey: /k
    caCertificates: /ca
    caCrl: /crl
    sni: x
    subjectAltNames: [y]
    insecureSkipVerify: false
  tunnel: {protocol: POST, targetHost: proxy.example.com, targetPort: 3128}
  retryBudget: {percent: 20, budgetInterval: 10s, minRetryConcurrency: 3}
  portLevelSettings:
  - port: {number: 80}
    loadBalancer:
      consistentHash:
        httpCookie: {name: user, path: /, ttl: 0s, attributes: [{name: SameSite, value: Lax}]}
        maglev: {tableSize: 65537}
subsets:
- name: v1
  labels: {version: v1}
  trafficPolicy:
    proxyProtocol: {version: V2}
    loadBalancer:
      backendUtilization:
        errorUtilizationPenaltyPercent: 100
        metricNamesForComputingUtilization: [a]
        weightExpirationPeriod: 3m
        weightStabilizationPeriod: 10s
        weightUpdatePeriod: 1s
      localityLbSetting: {distribute: [{from: a, to: {a: 80, b: 20}}]}
"""


def test_every_field_is_read() -> None:
    spec: DestinationRule = spec_of("DestinationRule", EVERYTHING)
    policy = spec.traffic_policy
    assert policy and policy.load_balancer and policy.connection_pool and policy.outlier_detection and policy.tls
    assert policy.load_balancer.simple is SimpleLb.ROUND_ROBIN
    assert policy.load_balancer.warmup and policy.load_balancer.warmup.duration == timedelta(seconds=30)
    assert policy.load_balancer.locality_lb_setting and policy.load_balancer.locality_lb_setting.failover[0].from_ == "a"
    assert policy.connection_pool.tcp and policy.connection_pool.tcp.connect_timeout == timedelta(milliseconds=30)
    assert policy.connection_pool.http and policy.connection_pool.http.h2_upgrade_policy is H2UpgradePolicy.UPGRADE
    assert policy.outlier_detection.consecutive_5xx_errors == 7
    assert policy.tls.mode is ClientTlsMode.MUTUAL
    hashed = policy.port_level_settings[0].load_balancer
    assert hashed and hashed.consistent_hash and hashed.consistent_hash.http_cookie
    assert hashed.consistent_hash.http_cookie.ttl == timedelta()
    assert spec.subsets[0].labels == {"version": "v1"}


def test_numbers_of_enums_follow_the_messages() -> None:
    spec = spec_of("DestinationRule", "host: a\ntraffic_policy: {load_balancer: {simple: 4}, tls: {mode: 3}}")
    assert spec.traffic_policy.load_balancer.simple is SimpleLb.ROUND_ROBIN
    assert spec.traffic_policy.tls.mode is ClientTlsMode.ISTIO_MUTUAL


BAD = """
trafficPolicy: {}
=>
4: spec.host: required
5: spec.trafficPolicy: set at least one of loadBalancer, connectionPool, outlierDetection, tls, portLevelSettings, tunnel, \
proxyProtocol, retryBudget
====
host: a
subsets:
- {name: v1}
- {name: V_2, labels: {version: "*"}}
- {labels: {}}
exportTo: ["~"]
=>
8: spec.subsets[1].name: must be a name of lower-case letters, digits and '-', at most 63, not 'V_2'
8: spec.subsets[1].labels.version: must be a label value (letters, digits, '-', '_' and '.', at most 63), not '*'
9: spec.subsets[2].name: required
====
host: a
subsets: [{name: v1}, {name: v2}, {name: v1}]
exportTo: ["~"]
=>
6: spec.subsets[2].name: 'v1' is taken by an earlier item
7: spec.exportTo[0]: "~" is for ServiceEntry only
====
host: a
trafficPolicy:
  loadBalancer: {simple: FASTEST, consistentHash: {useSourceIp: true, httpHeaderName: x, ringHash: {}, minimumRingSize: 3}}
=>
7: spec.trafficPolicy.loadBalancer: set only one of simple, consistentHash
7: spec.trafficPolicy.loadBalancer.simple: must be one of UNSPECIFIED, LEAST_CONN, RANDOM, PASSTHROUGH, ROUND_ROBIN, \
LEAST_REQUEST, not 'FASTEST'
7: spec.trafficPolicy.loadBalancer.consistentHash: set only one of httpHeaderName, useSourceIp
7: spec.trafficPolicy.loadBalancer.consistentHash: set only one of ringHash, minimumRingSize
====
host: a
trafficPolicy:
  loadBalancer:
    simple: 9
    warmup: {minimumPercent: 150, aggression: 0.3}
    localityLbSetting: {distribute: [{to: {a: 1}}], failover: [{from: a}]}
=>
8: spec.trafficPolicy.loadBalancer.simple: must be one of UNSPECIFIED, LEAST_CONN, RANDOM, PASSTHROUGH, ROUND_ROBIN, LEAST_REQUEST, not 9
9: spec.trafficPolicy.loadBalancer.warmup.duration: required
9: spec.trafficPolicy.loadBalancer.warmup.minimumPercent: must be between 0 and 100, not 150
10: spec.trafficPolicy.loadBalancer.localityLbSetting: set only one of distribute, failover
10: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: the shares must add up to 100, not 1
====
host: a
trafficPolicy:
  loadBalancer: {warmup: {duration: 1s, aggression: 0.3}, consistentHash: {httpCookie: {ttl: 1}, maglev: {tableSize: 65536}}}
=>
7: spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name: required
7: spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.ttl: must be a duration such as "1.5s", "100ms" or "1h30m", not 1; \
write "1s" for seconds
7: spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: must be a prime number, not 65536
7: spec.trafficPolicy.loadBalancer.warmup.aggression: must be at least 1, not 0.3
====
host: a
trafficPolicy:
  connectionPool: {}
  portLevelSettings: [{port: {}}, {port: {number: 1}, tls: {}}]
=>
7: spec.trafficPolicy.connectionPool: set at least one of tcp, http
8: spec.trafficPolicy.portLevelSettings[0]: set at least one of loadBalancer, connectionPool, outlierDetection, tls
8: spec.trafficPolicy.portLevelSettings[0].port.number: required
====
host: a
trafficPolicy:
  connectionPool:
    tcp: {maxConnections: -1, connectTimeout: 0.5ms, maxConnection: 3}
    http: {http1MaxPendingRequests: "1", h2UpgradePolicy: UPGRADE, useClientProtocol: "true"}
=>
8: spec.trafficPolicy.connectionPool.tcp.maxConnection: unknown field "maxConnection"; did you mean "maxConnections"?
8: spec.trafficPolicy.connectionPool.tcp.maxConnections: must be between 0 and 2147483647, not -1
8: spec.trafficPolicy.connectionPool.tcp.connectTimeout: must be at least 1ms, not '0.5ms'
9: spec.trafficPolicy.connectionPool.http.http1MaxPendingRequests: must be a whole number, not '1'
9: spec.trafficPolicy.connectionPool.http.useClientProtocol: must be true or false, not 'true'
====
host: a
trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}
=>
6: spec.trafficPolicy.connectionPool.http.useClientProtocol: must not be true where h2UpgradePolicy is UPGRADE
====
host: a
trafficPolicy:
  outlierDetection: {consecutiveErrors: 1.5, interval: 1d, maxEjectionPercent: 101, outlierDetectionHttpErrorCodes: [99]}
=>
7: spec.trafficPolicy.outlierDetection.consecutiveErrors: must be a whole number, not 1.5
7: spec.trafficPolicy.outlierDetection.interval: must be a duration such as "1.5s", "100ms" or "1h30m", not '1d'
7: spec.trafficPolicy.outlierDetection.maxEjectionPercent: must be between 0 and 100, not 101
7: spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[0]: must be between 100 and 599, not 99
====
host: a
trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 3}}
=>
6: spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: needs splitExternalLocalOriginErrors: true
====
host: a
trafficPolicy: {tls: {mode: MUTUAL}}
=>
6: spec.trafficPolicy.tls.clientCertificate: required where mode is MUTUAL and credentialName is not set
6: spec.trafficPolicy.tls.privateKey: required where mode is MUTUAL and credentialName is not set
====
host: a
trafficPolicy: {tls: {mode: ISTIO_MUTUAL, privateKey: /k, credentialName: c}}
=>
6: spec.trafficPolicy.tls.privateKey: must not be set where mode is ISTIO_MUTUAL: the mesh brings its own certificates
6: spec.trafficPolicy.tls.credentialName: must not be set where mode is ISTIO_MUTUAL: the mesh brings its own certificates
====
host: a
trafficPolicy: {tls: {mode: SIMPLE, credentialName: c, caCertificates: /ca, insecureSkipVerify: true}}
=>
6: spec.trafficPolicy.tls.caCertificates: must not stand beside credentialName
6: spec.trafficPolicy.tls.insecureSkipVerify: must not stand beside caCertificates
====
host: a
trafficPolicy:
  tunnel: {protocol: UDP, targetPort: 0}
  proxyProtocol: {version: V3}
workloadSelector: {matchLabels: {"*": a}}
=>
6: spec.trafficPolicy: set only one of tunnel, proxyProtocol
7: spec.trafficPolicy.tunnel.protocol: must be one of CONNECT, POST, not 'UDP'
7: spec.trafficPolicy.tunnel.targetHost: required
7: spec.trafficPolicy.tunnel.targetPort: must be between 1 and 65535, not 0
8: spec.trafficPolicy.proxyProtocol.version: must be one of V1, V2, not 'V3'
9: spec.workloadSelector.matchLabels["*"]: is no label key: a key is letters, digits, '-', '_', '.', after an optional prefix and '/'
====
host: a
trafficPolicy:
  connectionPool:
    tcp: {idleTimeout: 500us, tcpKeepalive: {probes: 128, time: 10h, interval: 32768s}}
  tunnel: {targetHost: "*.b", targetPort: 1}
  tls: {mode: SIMPLE, sni: "a\tb"}
=>
8: spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.probes: must be between 0 and 127, not 128
8: spec.trafficPolicy.connectionPool.tcp.idleTimeout: must be 0s or at least 1ms, not '500us'
9: spec.trafficPolicy.tunnel.targetHost: must be a host name without wildcard, not '*.b'
10: spec.trafficPolicy.tls.sni: must not contain control characters
====
host: a
trafficPolicy: {connectionPool: {tcp: {tcpKeepalive: {time: 10h, interval: 32768s}}}}
=>
6: spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.time: must be at most 32767s: Linux takes no more
6: spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.interval: must be at most 32767s: Linux takes no more
====
host: a
trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: "a b", minimumRingSize: 8388609}}}
=>
6: spec.trafficPolicy.loadBalancer.consistentHash.httpHeaderName: must be a header name, not 'a b'
6: spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize: must be between 0 and 8388608, not 8388609
====
host: a
trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: "", ttl: 1s, attributes: [{name: "a\\n", value: "b\\n"}]}}}}
=>
6: spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name: must not be empty
6: spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[0].name: must not contain control characters
6: spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[0].value: must not contain control characters
"""


@pytest.mark.parametrize(("spec", "expected"), cases(BAD))
def test_violations(spec: str, expected: list[str]) -> None:
    assert wrong("DestinationRule", spec) == expected
