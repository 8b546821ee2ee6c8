"""Name resolution by the proxy itself. The filter and the cluster of a dynamic forward proxy must hold the same cache settings."""

from __future__ import annotations

from datetime import timedelta

from tulle.translate.values import Fields, duration, number

REFRESH = timedelta(seconds=60)
"""How often names are resolved again when the answer bears no time of its own."""

CACHE: Fields = {
    "name": "dynamic_forward_proxy",
    "dns_lookup_family": "V4_PREFERRED",
    "dns_refresh_rate": duration(REFRESH),
    "dns_query_timeout": duration(timedelta(seconds=5)),
    "max_hosts": number(4096),
}
"""An envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig."""
