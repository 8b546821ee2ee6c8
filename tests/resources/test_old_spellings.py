"""Old spellings: each is read as what is written today."""

from __future__ import annotations

import pytest

from support.reading import spec_of, warned, wrong

ROUTE = "route: [{destination: {host: a}}]"


def rule(text: str) -> str:
    lines = "\n".join(f"  {line}" for line in text.split("\n"))
    return f"hosts: [a]\nhttp:\n- {ROUTE}\n{lines}"


def policy(text: str) -> str:
    return f"host: a\ntrafficPolicy: {text}"


@pytest.mark.parametrize(
    ("kind", "old", "today"),
    [
        pytest.param(kind, old, today, id=old.split("\n")[-1].strip() if kind == "VirtualService" else old.partition("trafficPolicy: ")[2])
        for kind, old, today in [
            ("VirtualService", rule("fault: {delay: {fixedDelay: 5s, percent: 100}}"),
             rule("fault: {delay: {fixedDelay: 5s, percentage: {value: 100}}}")),
            ("VirtualService", rule("fault: {delay: {fixed_delay: 5s, percentage: 12.5}}"),
             rule("fault: {delay: {fixedDelay: 5s, percentage: {value: 12.5}}}")),
            ("VirtualService", rule("fault: {delay: {fixedDelay: 5s, percent: 100, percentage: {value: 1}}}"),
             rule("fault: {delay: {fixedDelay: 5s, percentage: {value: 1}}}")),
            ("VirtualService", rule("fault: {abort: {httpStatus: 500, percent: 100}}"),
             rule("fault: {abort: {httpStatus: 500, percentage: {value: 100}}}")),
            ("VirtualService", rule("fault: {abort: {http_status: 500, percentage: 10}}"),
             rule("fault: {abort: {httpStatus: 500, percentage: {value: 10}}}")),
            ("VirtualService", rule("fault: {abort: {httpStatus: 500, percentage: {}}}"),
             rule("fault: {abort: {httpStatus: 500, percentage: {value: 0}}}")),
            ("VirtualService", rule("mirror: {host: b}\nmirror_percent: 50"),
             rule("mirror: {host: b}\nmirrorPercentage: {value: 50}")),
            ("VirtualService", rule("mirror: {host: b}\nmirrorPercent: 50"),
             rule("mirror: {host: b}\nmirrorPercentage: {value: 50}")),
            ("VirtualService", rule("mirror: {host: b}\nmirrorPercentage: {value: 5}\nmirrorPercent: 50"),
             rule("mirror: {host: b}\nmirrorPercentage: {value: 5}")),
            ("VirtualService", rule("mirrors: [{destination: {host: b}, percentage: 50}]"),
             rule("mirrors: [{destination: {host: b}, percentage: {value: 50}}]")),
            ("VirtualService", rule("corsPolicy: {allowOrigin: [https://a.example.com]}"),
             rule("corsPolicy: {allowOrigins: [{exact: https://a.example.com}]}")),
            ("VirtualService", rule("corsPolicy: {allowOrigin: ['*']}"),
             rule("corsPolicy: {allowOrigins: [{regex: '.*'}]}")),
            ("VirtualService", rule("corsPolicy: {allowOrigins: [{exact: b}], allow_origin: [a]}"),
             rule("corsPolicy: {allowOrigins: [{exact: b}]}")),
            ("VirtualService", rule("appendHeaders: {x-a: b}"),
             rule("headers: {request: {add: {x-a: b}}}")),
            ("VirtualService", rule("appendRequestHeaders: {x-a: b}\nremoveRequestHeaders: [x-c]"),
             rule("headers: {request: {add: {x-a: b}, remove: [x-c]}}")),
            ("VirtualService", rule("headers: {request: {add: {x-a: new, x-d: e}}}\nappendRequestHeaders: {x-a: old, x-b: c}"),
             rule("headers: {request: {add: {x-a: new, x-b: c, x-d: e}}}")),
            ("VirtualService", rule("appendResponseHeaders: {x-a: b}\nremoveResponseHeaders: [x-c]"),
             rule("headers: {response: {add: {x-a: b}, remove: [x-c]}}")),
            ("VirtualService", "hosts: [a]\nhttp: [{route: [{destination: {host: a}, removeResponseHeaders: [x-c]}]}]",
             "hosts: [a]\nhttp: [{route: [{destination: {host: a}, headers: {response: {remove: [x-c]}}}]}]"),
            ("VirtualService", "hosts: [a]\nhttp: [{redirect: {uri: /b, redirect_code: 302}}]",
             "hosts: [a]\nhttp: [{redirect: {uri: /b, redirectCode: 302}}]"),
            ("VirtualService", "hosts: [a]\nhttp: [{redirect: {prefix_rewrite: /b}}]",
             "hosts: [a]\nhttp: [{redirect: {prefixRewrite: /b}}]"),
            ("VirtualService", "hosts: [a]\ntls: [{match: [{sni_hosts: [a]}], route: [{destination: {host: a}}]}]",
             "hosts: [a]\ntls: [{match: [{sniHosts: [a]}], route: [{destination: {host: a}}]}]"),
            ("DestinationRule", policy("{loadBalancer: {simple: LEAST_CONN}}"),
             policy("{loadBalancer: {simple: LEAST_REQUEST}}")),
            ("DestinationRule", policy("{loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 2048}}}"),
             policy("{loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 2048}}}}")),
            ("DestinationRule", policy("{loadBalancer: {simple: ROUND_ROBIN, warmupDurationSecs: 30s}}"),
             policy("{loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s}}}")),
            ("DestinationRule", policy("{loadBalancer: {warmupDurationSecs: 30s, warmup: {duration: 60s}}}"),
             policy("{loadBalancer: {warmup: {duration: 60s}}}")),
        ]
    ],
)  # fmt: skip
def test_is_read_as_todays(kind: str, old: str, today: str) -> None:
    assert old != today
    assert spec_of(kind, old) == spec_of(kind, today)


def test_consecutive_errors_stay_apart() -> None:
    spec = spec_of("DestinationRule", policy("{outlier_detection: {consecutive_errors: 3}}"))
    assert spec.traffic_policy.outlier_detection.consecutive_errors == 3
    assert spec.traffic_policy.outlier_detection.consecutive_5xx_errors is None


def test_websocket_upgrade_is_always_on() -> None:
    assert warned("VirtualService", rule("websocketUpgrade: true")) == [
        "spec.http[0].websocketUpgrade: has no effect: WebSocket upgrades are always allowed"
    ]


def test_an_old_spelling_is_checked_like_a_new_one() -> None:
    assert wrong("VirtualService", rule("fault: {delay: {fixed_delay: 5, percent: 101}}\nmirror_percent: -1")) == [
        '8: spec.http[0].fault.delay.fixed_delay: must be a duration such as "1.5s", "100ms" or "1h30m", not 5; write "5s" for seconds',
        "8: spec.http[0].fault.delay.percent: must be between 0 and 100, not 101",
        "9: spec.http[0].mirror_percent: must be between 0 and 100, not -1",
    ]
