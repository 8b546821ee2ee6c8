"""The kinds of xDS resources, and in which order they are to change so that nothing is used before it is there or after it has gone.

The order matters (xDS protocol, "Eventual consistency considerations"): clusters, their endpoints, then listeners and routes that
use them; and only when those no longer use the old clusters, the old clusters go.
"""

from __future__ import annotations

from tulle.translate.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET

CDS, EDS, LDS, RDS, SDS = CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET

ORDER = (SDS, CDS, EDS, LDS, RDS)

WHOLE = frozenset({LDS, CDS})
"""State-of-the-world responses of these kinds name all there is: what is left out is deleted. Elsewhere it is just not mentioned.

In both protocols an Envoy that refuses some of these takes the others, and says which ones it refused."""

ALONE = frozenset({SDS})
"""Each resource of these kinds has a response of its own.

An Envoy that refuses one refuses the response without saying which one it was. That cannot be found out later: one that it refused it
says to take when it is sent again (Envoy 1.40 compares the hash with that of the last one it saw, good or bad)."""

ROUTING = (LDS, RDS)
"""Kinds that use clusters: sent when those are known to be in place."""

USERS = {SDS: (CDS, LDS), CDS: (EDS, LDS, RDS), EDS: (CDS,), RDS: (LDS, RDS)}
"""What must have let go of a resource before it may be removed. Kinds that are not here are removed at once."""
