"""The kinds of Istio's networking API, each as a frozen model of its `spec`.

Fields bear the snake_case of Istio's names. Old spellings are folded into today's fields when a document is read, so whoever
uses a model never meets them.
"""

from tulle.resources.networking.destination_rule import DestinationRule
from tulle.resources.networking.envoy_filter import EnvoyFilter
from tulle.resources.networking.gateway import Gateway
from tulle.resources.networking.proxy_config import ProxyConfig
from tulle.resources.networking.service_entry import ServiceEntry
from tulle.resources.networking.sidecar import Sidecar
from tulle.resources.networking.virtual_service import VirtualService
from tulle.resources.networking.workload_entry import WorkloadEntry
from tulle.resources.networking.workload_group import WorkloadGroup

__all__ = [
    "DestinationRule",
    "EnvoyFilter",
    "Gateway",
    "ProxyConfig",
    "ServiceEntry",
    "Sidecar",
    "VirtualService",
    "WorkloadEntry",
    "WorkloadGroup",
]
