"""What is shown to a control plane, and by what it is known. Loads nothing: the command line begins with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl import SSLContext


class Credentials:
    """Asked for anew with each request. Here: nothing."""

    def headers(self) -> Mapping[str, str]:
        return {}

    def context(self) -> SSLContext | None:
        """For TLS; None for what the machine trusts."""
        return None


NOBODY = Credentials()
