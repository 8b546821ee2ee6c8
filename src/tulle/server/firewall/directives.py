"""A Firewall in the engine's own language, around the Core Rule Set (its variables are told in crs-setup.conf)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tulle.model.firewall import Exclusion, Firewall
from tulle.server.firewall.more import MORE

SETUP = Path("/etc/modsecurity/crs/crs-setup.conf")
RULES = Path("/usr/share/modsecurity-crs/rules")
"""Where Debian's package modsecurity-crs has them."""

METHODS = "GET HEAD POST OPTIONS PUT PATCH DELETE"
CONTENT_TYPES = (
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/related",
    "text/xml",
    "application/xml",
    "application/soap+xml",
    "application/json",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
)
GRPC = "application/grpc"
_ALL_RULES = "OWASP_CRS"
"""The tag that each rule of the set bears."""
_COUNTING = 901321
"""Keeps a record of every caller, which rules that are left out here would need."""
_BEFORE = r"[^;?#\x00-\x1f]*"
"""Before the end of an excluded path: none of what an end may be hung on to whatever another path is, as in `/admin;x.css`."""
_LIMIT = 2**27 + 1
"""Bytes. Proxies see to it that bodies are not too long."""


def directives(firewall: Firewall, setup: Path = SETUP, rules: Path = RULES) -> str:
    """The order matters: what is set up first, own rules and exclusions by request before the set, and rules can be left out only after."""
    lines = [
        f"SecRuleEngine {'On' if firewall.block else 'DetectionOnly'}",
        *_bodies(firewall),
        *_unreadable(),
        *_variables(firewall),
        *(f'SecDefaultAction "phase:{phase},log,pass"' for phase in ((3, 4) if setup.is_file() else (1, 2, 3, 4))),
        *([f"Include {setup}"] if setup.is_file() else []),
        *(line for number, one in enumerate(firewall.exclusions) for line in exclusion(one, 200_100 + number)),
        firewall.rules,
        f"Include {rules}/REQUEST-901-*.conf",
        MORE,
        *(f"Include {path}" for path in sorted(rules.glob("*.conf")) if _wanted(path.name, firewall)),
        *(f"SecRuleRemoveById {number}" for number in (_COUNTING, *firewall.excluded)),
    ]
    return "\n".join(lines) + "\n"


def _wanted(name: str, firewall: Firewall) -> bool:
    """Not what is for certain programs or counts callers, nor for answers that nobody looks at, nor what sums up for logs."""
    if name.startswith(("REQUEST-901-", "REQUEST-903.", "REQUEST-910-", "REQUEST-912-", "RESPONSE-980-")):
        return False
    return not name.startswith("RESPONSE-") or firewall.answers is not None


def _bodies(firewall: Firewall) -> Iterator[str]:
    yield from ("SecRequestBodyAccess On", f"SecRequestBodyLimit {_LIMIT}", f"SecRequestBodyNoFilesLimit {_LIMIT}")
    yield from (
        "SecRequestBodyJsonDepthLimit 512",
        "SecArgumentsLimit 2000",
        "SecPcreMatchLimit 100000",
        "SecPcreMatchLimitRecursion 100000",
    )
    if firewall.answers:
        yield from ("SecResponseBodyAccess On", "SecResponseBodyMimeType text/plain text/html text/xml application/json application/xml")
        yield from (f"SecResponseBodyLimit {_LIMIT}", "SecResponseBodyLimitAction ProcessPartial")


def _unreadable() -> Iterator[str]:
    """Bodies are read by what they are said to be; what cannot be read then could hide anything."""
    for number, form, types in (
        (200_000, "XML", r"^(?:application(?:/[a-z0-9.-]+\+|/)|text/)xml"),
        (200_001, "JSON", r"^application/(?:[a-z0-9.-]+\+)?json"),
    ):
        then = f"phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor={form}"
        yield f'SecRule REQUEST_HEADERS:Content-Type "{types}" "id:{number},{then}"'
    told = "phase:2,t:none,log,deny,status:400,severity:CRITICAL,tag:'attack-protocol'"
    yield f"""SecRule REQBODY_ERROR "!@eq 0" "id:200002,{told},msg:'The body cannot be read as what it is said to be'\""""
    yield f"""SecRule MULTIPART_STRICT_ERROR "@eq 1" "id:200003,{told},msg:'The multipart body is not well formed'\""""
    yield f"""SecRule &ARGS "@ge 2000" "id:200004,{told},msg:'Too many parameters'\""""


def _variables(of: Firewall) -> Iterator[str]:
    """Under the names of both generations of the set, 3 and 4."""
    inbound, outbound = of.thresholds
    values = {
        "paranoia_level": of.paranoia,
        "blocking_paranoia_level": of.paranoia,
        "executing_paranoia_level": of.told_paranoia,
        "detection_paranoia_level": of.told_paranoia,
        "inbound_anomaly_score_threshold": inbound,
        "outbound_anomaly_score_threshold": outbound,
        "allowed_methods": METHODS,
        "allowed_request_content_type": " ".join(f"|{kind}|" for kind in (*CONTENT_TYPES, *of.content_types)),
    }
    for number, (name, value) in enumerate(values.items()):
        yield f"""SecAction "id:{200_010 + number},phase:1,nolog,pass,t:none,setvar:'tx.{name}={value}'\""""


def exclusion(of: Exclusion, number: int) -> Iterator[str]:
    controls = ",".join(f"ctl:{one}" for one in _controls(of))
    then = f"id:{number},phase:1,t:none,nolog,pass,{controls}"
    if not of.paths:
        yield f'SecAction "{then}"'
        return
    either = "|".join(_pattern(path) for path in of.paths)
    # As those behind may understand it: what only looks like an excluded path must not be one.
    yield f'SecRule REQUEST_FILENAME "@rx ^(?:{either})$" "{then.replace("t:none", "t:none,t:urlDecodeUni,t:normalizePathWin")}"'


def _pattern(path: str) -> str:
    if path.startswith("*"):
        return _BEFORE + _literal(path[1:])
    return _literal(path.removesuffix("*")) + (".*" if path.endswith("*") else "")


def _literal(text: str) -> str:
    return re.escape(text).replace("\\/", "/")


def _controls(of: Exclusion) -> Iterator[str]:
    targets = tuple(_targets(of))
    if not (of.rules or of.tags or targets):
        yield "ruleEngine=Off"
        return
    tags = of.tags if of.rules or of.tags else (_ALL_RULES,)
    if targets:
        yield from (f"ruleRemoveTargetById={rule};{target}" for rule in of.rules for target in targets)
        yield from (f"ruleRemoveTargetByTag={tag};{target}" for tag in tags for target in targets)
    else:
        yield from (f"ruleRemoveById={rule}" for rule in of.rules)
        yield from (f"ruleRemoveByTag={tag}" for tag in of.tags)


def _targets(of: Exclusion) -> Iterable[str]:
    for name in of.parameters:
        yield from (f"ARGS:{name}", f"ARGS:json.{name}", f"ARGS_NAMES:{name}")
    yield from (f"REQUEST_HEADERS:{name}" for name in of.headers)
    yield from (f"REQUEST_COOKIES:{name}" for name in of.cookies)
