"""One who asks: what its token allows."""

from __future__ import annotations

from dataclasses import dataclass

from tulle.registry.acl.grants import Grants
from tulle.registry.acl.rules import Access
from tulle.registry.transitions import Refused

ANONYMOUS = "00000000-0000-0000-0000-000000000002"
"""The accessor of who shows no token."""
_SAID = {Access.READ: "read", Access.LIST: "list", Access.WRITE: "write"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Authority:
    accessor: str
    grants: Grants = Grants()
    default: Access = Access.WRITE
    """For what no rule speaks of; to manage access control itself is then still denied."""

    @property
    def is_free(self) -> bool:
        """Nothing but access control itself is kept from it."""
        return self.default is Access.WRITE and not self.grants.exact and not self.grants.prefixes

    def allows(self, kind: str, name: str = "", access: Access = Access.READ) -> bool:
        found = self.grants.access(kind, name)
        if found is None:
            found = Access.DENY if kind == "acl" else self.default
        return found >= access

    def allows_under(self, kind: str, prefix: str, access: Access = Access.WRITE) -> bool:
        """Everything that begins with a prefix."""
        covering = self.grants.covering(kind, prefix)
        own = self.default if covering is None else covering
        return own >= access and all(given >= access for given in self.grants.below(kind, prefix))

    def require(self, kind: str, name: str = "", access: Access = Access.READ) -> None:
        """Raises Refused(403)."""
        if not self.allows(kind, name, access):
            raise self.refusal(kind, name, access)

    def refusal(self, kind: str, name: str, access: Access) -> Refused:
        anonymous = self.accessor == ANONYMOUS
        who = "anonymous token" if anonymous else f"token with AccessorID '{self.accessor}'"
        what = f' on "{name}"' if name else ""
        hint = ". The anonymous token is used implicitly when a request does not specify a token." if anonymous else ""
        return Refused(403, f"Permission denied: {who} lacks permission '{kind}:{_SAID[access]}'{what}{hint}")


ANYBODY = Authority(accessor=ANONYMOUS)
"""Who asks where access is not controlled."""
