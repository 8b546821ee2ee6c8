"""The shapes of names in documents: hosts, labels, headers, namespaces, addresses. Each check returns the complaint, or None."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

from tulle.model.frozen import FrozenMap
from tulle.resources.scalars import Text, text_that
from tulle.resources.spec import Place, Problem, problem_error, shown

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_HOST_LABEL = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_HEADER = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_SOCKET = re.compile(r"unix://(?:@.+|/.*[^/])")
_FORMAT = re.compile(r"(?:[^%]|%%|%[A-Za-z0-9_.]+(?:\([^)]*\))?(?::[0-9]+)?%)*", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def dns_label(value: str) -> str | None:
    """A name of at most 63 lower-case letters, digits and `-` (RFC 1123)."""
    if _LABEL.fullmatch(value) and len(value) <= 63:
        return None
    return f"must be a name of lower-case letters, digits and '-', at most 63, not {shown(value)}"


def dns_name(value: str) -> str | None:
    """Labels joined by dots, at most 253 characters: names of resources."""
    if len(value) <= 253 and all(_LABEL.fullmatch(part) for part in value.split(".")):
        return None
    return f"must be a name of lower-case letters, digits, '-' and '.', not {shown(value)}"


def is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def fqdn(value: str) -> str | None:
    """A host name without wildcard."""
    if not value:
        return "must not be empty"
    if "*" in value:
        return f"must be a host name without wildcard, not {shown(value)}"
    if len(value) > 253:
        return "must be at most 253 characters long"
    labels = value.removesuffix(".").split(".")
    if all(len(label) <= 63 and _HOST_LABEL.fullmatch(label) for label in labels):
        return None
    return f"must be a host name, not {shown(value)}"


def destination_host(value: str) -> str | None:
    """A host, or the end of one, but not every host."""
    return "must not be * alone" if value == "*" else wildcard_host(value)


def wildcard_host(value: str) -> str | None:
    """A host name, or the end of one after `*`: `*`, `*.example.com`, `*-eu.example.com`."""
    if value == "*":
        return None
    if "*" in value[1:]:
        return f"must be a host name in which '*' stands only at the beginning, not {shown(value)}"
    rest = value[2:] if value.startswith(("*.", "*-")) else value.removeprefix("*")
    return fqdn(rest) and f"must be a host name, not {shown(value)}"


def host_or_ip(value: str) -> str | None:
    return None if is_ip(value) else wildcard_host(value)


def scoped_host(value: str) -> str | None:
    """A host that may say which namespace it is taken from: `ns/host`, `./host`, `*/host`."""
    namespace, slash, host = value.rpartition("/")
    if slash and namespace not in ("*", ".", "~") and (complaint := dns_label(namespace)):
        return f"namespace before '/' {complaint}"
    return host_or_ip(host)


def egress_host(value: str) -> str | None:
    """`namespace/host` with both parts."""
    namespace, slash, host = value.partition("/")
    if not slash:
        return f'must be "namespace/host", such as "./*" or "*/{value}", not {shown(value)}'
    if namespace == "~" and host != "*":
        return f'must be "~/*" where the namespace is "~", not {shown(value)}'
    return scoped_host(value) if namespace != "~" else None


def export_target(value: str) -> str | None:
    """`.`, `*`, `~` or a namespace."""
    if value in (".", "*", "~"):
        return None
    return None if dns_label(value) is None else f'must be ".", "*" or a namespace, not {shown(value)}'


def gateway_name(value: str) -> str | None:
    """`mesh`, `name`, `namespace/name`, or the old `name.namespace.svc.cluster.local`."""
    namespace, slash, name = value.rpartition("/")
    if slash and namespace != "." and dns_label(namespace):
        return f'must be "mesh", "name" or "namespace/name", not {shown(value)}'
    return None if fqdn(name) is None else f'must be "mesh", "name" or "namespace/name", not {shown(value)}'


def header_name(value: str) -> str | None:
    """A token of RFC 9110, 5.1."""
    return None if _HEADER.fullmatch(value) else f"must be a header name, not {shown(value)}"


def header_value(value: str) -> str | None:
    """No control characters (RFC 9110, 5.5); `%` only in pairs, or around one of the data plane's variables."""
    if _CONTROL.search(value):
        return "must not contain control characters"
    if "%" in value and not _FORMAT.fullmatch(value):
        return f"uses % otherwise than in %VARIABLE%; write %% for a percent sign, not {shown(value)}"
    return None


def matched_header(value: str) -> str | None:
    """A header's name, or a claim of a token (`@request.auth.claims.group`)."""
    return None if value.startswith("@request.auth.claims") else header_name(value)


def control_free(value: str) -> str | None:
    return "must not contain control characters" if _CONTROL.search(value) or "\t" in value else None


def named(value: str) -> str | None:
    """Not empty, and without control characters."""
    return control_free(value) if value else "must not be empty"


def server_name(value: str) -> str | None:
    """What a caller may ask for in TLS."""
    return control_free(value) if len(value.encode("utf-8", "replace")) <= 255 else "must be at most 255 bytes long"


def label_key(value: str) -> str | None:
    prefix, slash, name = value.rpartition("/")
    if _QUALIFIED.fullmatch(name) and len(name) <= 63 and (not slash or dns_name(prefix) is None):
        return None
    return "is no label key: a key is letters, digits, '-', '_', '.', after an optional prefix and '/'"


def label_value(value: str) -> str | None:
    if _LABEL_VALUE.fullmatch(value) and len(value) <= 63:
        return None
    return f"must be a label value (letters, digits, '-', '_' and '.', at most 63), not {shown(value)}"


def cidr_or_ip(value: str) -> str | None:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return f"must be an IP address or a range such as 10.0.0.0/8, not {shown(value)}"
    return None


def unix_socket(value: str) -> str | None:
    """A Unix socket, as `unix://` and a path, or as `unix://@` and a name. Linux has room for 108 bytes, the last of them 0."""
    if not _SOCKET.fullmatch(value):
        return f"must name an absolute path after unix://, not {shown(value)}"
    return None if len(value.removeprefix("unix://").encode("utf-8", "replace")) <= 107 else "must be a path of at most 107 bytes"


def server_pattern(value: str) -> str | None:
    """What the name that a caller asks for in TLS is compared with."""
    return wildcard_host(value) or whole_labels(value)


def whole_labels(value: str) -> str | None:
    """No `*-eu.example.com`, which the data plane does not know there."""
    if not value.startswith("*") or value == "*" or value.startswith("*."):
        return None
    return f"must be a whole name, or begin with '*.', where TLS is told by its server name, not {shown(value)}"


def ip_or_unix(value: str) -> str | None:
    """An IP address, or the path of a Unix socket."""
    if value.startswith("unix://"):
        return unix_socket(value)
    return None if is_ip(value) else f"must be an IP address or unix:///path, not {shown(value)}"


def _check_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    problems: list[Problem] = []
    for key, value in labels.items():
        place: Place = (key,)
        problems.extend((place, complaint) for complaint in (label_key(key), label_value(value)) if complaint)
    if problems:
        raise problem_error(problems)
    return FrozenMap(labels)


LabelMap = Annotated[Mapping[Text, Text], AfterValidator(_check_labels)]

Label = Annotated[str, text_that(dns_label)]
Host = Annotated[str, text_that(fqdn)]
ServerPattern = Annotated[str, text_that(server_pattern)]
DestinationHost = Annotated[str, text_that(destination_host)]
WildcardHost = Annotated[str, text_that(wildcard_host)]
HostOrIp = Annotated[str, text_that(host_or_ip)]
ScopedHost = Annotated[str, text_that(scoped_host)]
EgressHost = Annotated[str, text_that(egress_host)]
ExportTarget = Annotated[str, text_that(export_target)]
GatewayName = Annotated[str, text_that(gateway_name)]
HeaderName = Annotated[str, text_that(header_name)]
Subnet = Annotated[str, text_that(cidr_or_ip)]
IpOrUnix = Annotated[str, text_that(ip_or_unix)]
Plain = Annotated[str, text_that(control_free)]
Named = Annotated[str, text_that(named)]
ServerName = Annotated[str, text_that(server_name)]
