"""Which names an identity may be made of."""

from __future__ import annotations

import re

from tulle.model.identity import Identity

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def check(identity: Identity) -> None:
    """Raises ValueError for names that could be read as others: or one could write another's path into its own name."""
    for name in (identity.namespace, identity.service_account):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for an identity: use lower-case letters, digits, '-' and '.'")
