"""Consul's configuration entries, as its users write them over the API, or as documents of `consul.hashicorp.com/v1alpha1`.

Reference: Consul's documentation, "Configuration entries".
"""

from tulle.resources.consul.common import api_name
from tulle.resources.consul.defaults import ProxyDefaults, ServiceDefaults
from tulle.resources.consul.intentions import ServiceIntentions
from tulle.resources.consul.resolver import ServiceResolver
from tulle.resources.consul.router import ServiceRouter
from tulle.resources.consul.splitter import ServiceSplitter

__all__ = ["ProxyDefaults", "ServiceDefaults", "ServiceIntentions", "ServiceResolver", "ServiceRouter", "ServiceSplitter", "api_name"]
