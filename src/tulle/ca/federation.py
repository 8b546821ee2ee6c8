"""Other trust domains whose workloads may call and be called: each with its own roots, which vouch for that domain alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cryptography import x509

from tulle.ca.files import AuthorityError
from tulle.logs import Log

_log = Log("ca")


class Federation:
    """Reads the bundles of other domains from files, and again whenever it is asked: the last good one holds."""

    def __init__(self, files: Iterable[tuple[str, str]] = ()) -> None:
        """`files`: trust domain and path of each bundle, PEM. Raises AuthorityError for one that cannot be used from the start."""
        self._files = tuple(files)
        self._bundles = {domain: _read(path) for domain, path in self._files}

    def bundles(self) -> tuple[tuple[str, bytes], ...]:
        """By trust domain, what the files hold now."""
        for domain, path in self._files:
            try:
                self._bundles[domain] = _read(path)
            except AuthorityError as error:
                _log.warning("a bundle cannot be used; the last good one holds", trust_domain=domain, error=str(error))
        return tuple(self._bundles.items())


def _read(path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
        x509.load_pem_x509_certificates(content)
    except OSError as error:
        raise AuthorityError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, x509.InvalidVersion):
        raise AuthorityError(f"{path}: holds no certificate that can be read: it must be PEM") from None
    return content
