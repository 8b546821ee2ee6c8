"""`tulle version`."""

from __future__ import annotations

import sys

from tulle import __version__


def version() -> None:
    """Versions of Tulle, of the control plane and of Envoy."""
    sys.stdout.write(f"tulle {__version__}\n")
