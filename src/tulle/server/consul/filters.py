"""What `?filter=` may ask of each kind of answer."""

from __future__ import annotations

from tulle.registry.transitions import Refused
from tulle.resources.bexpr import FilterError, Schema, Test, compiled
from tulle.server.consul.wire import Ask

_WEIGHTS: Schema = {"Passing": "number", "Warning": "number"}
_PROXY: Schema = {
    "DestinationServiceName": "text",
    "DestinationServiceID": "text",
    "LocalServiceAddress": "text",
    "LocalServicePort": "number",
    "Mode": "text",
    "MeshGateway": {"Mode": "text"},
    "Config": "anything",
    "Upstreams": "objects",
    "Expose": "anything",
    "TransparentProxy": "anything",
}
_CONNECT: Schema = {"Native": "flag", "SidecarService": "anything"}
_INDICES: Schema = {"CreateIndex": "number", "ModifyIndex": "number"}

AGENT_SERVICE: Schema = {
    "Kind": "text",
    "ID": "text",
    "Service": "text",
    "Tags": "list",
    "Meta": "map",
    "Port": "number",
    "Address": "text",
    "SocketPath": "text",
    "TaggedAddresses": "anything",
    "Weights": _WEIGHTS,
    "EnableTagOverride": "flag",
    "Proxy": _PROXY,
    "Connect": _CONNECT,
    "Locality": {"Region": "text", "Zone": "text"},
    "ContentHash": "text",
    "Datacenter": "text",
    "PeerName": "text",
    **_INDICES,
}
HEALTH_CHECK: Schema = {
    "Node": "text",
    "CheckID": "text",
    "Name": "text",
    "Status": "text",
    "Notes": "text",
    "Output": "text",
    "ServiceID": "text",
    "ServiceName": "text",
    "ServiceTags": "list",
    "Type": "text",
    "Interval": "text",
    "Timeout": "text",
    "ExposedPort": "number",
    "Definition": "anything",
    "PeerName": "text",
    **_INDICES,
}
NODE: Schema = {
    "ID": "text",
    "Node": "text",
    "Address": "text",
    "Datacenter": "text",
    "TaggedAddresses": "map",
    "Meta": "map",
    "PeerName": "text",
    "Partition": "text",
    **_INDICES,
}
SERVICE_NODE: Schema = {
    "ID": "text",
    "Node": "text",
    "Address": "text",
    "Datacenter": "text",
    "TaggedAddresses": "map",
    "NodeMeta": "map",
    "ServiceKind": "text",
    "ServiceID": "text",
    "ServiceName": "text",
    "ServiceTags": "list",
    "ServiceAddress": "text",
    "ServiceSocketPath": "text",
    "ServiceTaggedAddresses": "anything",
    "ServiceWeights": _WEIGHTS,
    "ServiceMeta": "map",
    "ServicePort": "number",
    "ServiceEnableTagOverride": "flag",
    "ServiceProxy": _PROXY,
    "ServiceConnect": _CONNECT,
    "PeerName": "text",
    **_INDICES,
}
INTENTION: Schema = {
    "ID": "text",
    "Description": "text",
    "SourceNS": "text",
    "SourceName": "text",
    "DestinationNS": "text",
    "DestinationName": "text",
    "SourceType": "text",
    "Action": "text",
    "Meta": "map",
    "Precedence": "number",
    **_INDICES,
}
ENTRY: Schema = {"Node": NODE, "Service": AGENT_SERVICE, "Checks": "objects"}


def test_of(ask: Ask, schema: Schema, status: int = 400) -> Test:
    """What `?filter=` says, to be asked of each value. Raises Refused(status)."""
    given = ask.get("filter")
    if not given:
        return lambda _: True
    try:
        return compiled(given, schema)
    except FilterError as error:
        raise Refused(status, f"Failed to create boolean expression evaluator: {error}") from None
