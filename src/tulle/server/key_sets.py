"""Public keys of those who issue tokens, fetched from where RequestAuthentications say (RFC 7517; OpenID Connect Discovery 1.0, section 4).

Nothing that is not a set of public keys is kept or shown.
"""

from __future__ import annotations

import json

from tulle.reach import ANYWHERE, Reach
from tulle.server.fetching import UnusableError, json_object


async def fetch(uri: str, timeout: float, reach: Reach = ANYWHERE) -> str:
    """The set of keys at a URI, as JSON; where it is a discovery document, at the one that this names. Raises UnusableError."""
    said = await json_object(uri, timeout, reach)
    if "keys" not in said and isinstance(said.get("jwks_uri"), str):
        said = await json_object(said["jwks_uri"], timeout, reach)
    written = said.get("keys")
    keys = [key for key in written if _usable(key)] if isinstance(written, list) else []
    if not keys:
        raise UnusableError("what is there is not a set of public keys")
    return json.dumps({"keys": keys}, separators=(",", ":"), sort_keys=True)


_PARTS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""What the public keys of each type must have (RFC 7518, 6; RFC 8037, 2)."""


_USES = ("sig", "jwt-svid")
"""The second in the bundles of other trust domains (SPIFFE Trust Domain and Bundle, 4.2.2)."""


def _usable(key: object) -> bool:
    """Symmetric keys, and those for encryption or certificates, are none that tokens could be judged by."""
    if not isinstance(key, dict) or key.get("use", "sig") not in _USES:
        return False
    parts = _PARTS.get(str(key.get("kty")), ())
    return bool(parts) and all(isinstance(key.get(part), str) and key[part] for part in parts)
