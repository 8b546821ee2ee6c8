"""What the control plane fetches from where documents say.

Whoever may write such a document makes the control plane send a request. So it goes only where it may (Reach), redirections are not
followed, and answers are small and never shown.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from tulle.http_client import request
from tulle.reach import ANYWHERE, Reach

LARGEST = 1024 * 1024
"""Bytes of an answer."""
LONGEST = 60.0
"""Seconds for an answer, whatever a document says."""


class UnusableError(Exception):
    """What was wanted is not to be had; the message says why."""


async def json_object(uri: str, timeout: float, reach: Reach = ANYWHERE) -> dict[str, Any]:
    """The JSON object at a URI, fetched within so many seconds. Raises UnusableError."""
    try:
        said = json.loads(await _body(uri, min(timeout, LONGEST), reach))
    except (ValueError, RecursionError):
        raise UnusableError("what is there is not JSON") from None
    if not isinstance(said, dict):
        raise UnusableError("what is there is not a JSON object")
    return said


async def _body(uri: str, timeout: float, reach: Reach) -> bytes:
    headers = {"accept": "application/json"}
    try:
        to, path = place(uri)
        answer = await request(to, "GET", path, timeout=timeout, headers=headers, most=LARGEST, may_ask=reach)
    except PermissionError:
        raise UnusableError("the control plane asks nobody at such an address, unless TULLE_FETCH_ALLOW has it") from None
    except OSError as error:
        raise UnusableError(f"no answer: {str(error) or type(error).__name__}") from None
    except ValueError:  # its text may have a part of an answer in it that named this URL
        raise UnusableError("it is not a URL that can be asked") from None
    if answer.status != 200:
        raise UnusableError(f"the answer is {answer.status}, not 200")
    return answer.body


def place(uri: str) -> tuple[str, str]:
    """Whom to ask, and for what, as `request` has it. Raises UnusableError."""
    url = urlsplit(uri)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UnusableError("it is not a URL with http or https")
    secure, host = url.scheme == "https", f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if not (path.isascii() and path.isprintable() and " " not in path):
        raise UnusableError("its path has characters that HTTP does not allow")
    return f"{'https://' if secure else ''}{host}:{url.port or (443 if secure else 80)}", path
