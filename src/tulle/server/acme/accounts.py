"""Accounts with authorities: one for each authority, address and account of the user's own. Their keys lie in the store."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from tulle.ca.keys import dump_key, load_key, new_key
from tulle.model.resource import Key
from tulle.model.tls import Hidden
from tulle.reach import ANYWHERE, Reach
from tulle.resources.security.certificate import Issuer
from tulle.server.acme import directory, jws, orders
from tulle.server.acme.directory import AcmeError
from tulle.server.acme.kept import secret_at
from tulle.server.acme.orders import Account, Binding
from tulle.store.documents import Documents
from tulle.store.port import Store

PREFIX = "acme/accounts/"


class StoredAccounts:
    """Implements `work.Accounts`."""

    def __init__(self, store: Store, documents: Documents, reach: Reach = ANYWHERE) -> None:
        """`reach`: where authorities may be, as documents name them."""
        self._store, self._documents, self._reach = store, documents, reach
        self._known: dict[tuple[str, str], Account] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def of(self, issuer: Issuer, namespace: str) -> Account:
        """Raises AcmeError, OSError, StoreError."""
        name, ca_file = _digest(issuer, namespace), issuer.ca_file or ""
        async with self._locks[name]:
            if (name, ca_file) not in self._known:
                self._known[name, ca_file] = await self._opened(name, issuer, namespace)
            return self._known[name, ca_file]

    async def _opened(self, name: str, issuer: Issuer, namespace: str) -> Account:
        authority = await directory.opened(issuer.server, issuer.ca_file or "", self._reach)
        binding = await self._binding(issuer, namespace)
        return await orders.account(authority, await self._key(name), issuer.email or "", binding)

    async def _key(self, name: str) -> EllipticCurvePrivateKey:
        """Kept before the authority hears of it."""
        entry = await self._store.get(PREFIX + name)
        if entry is None:
            made = new_key()
            await self._store.put(PREFIX + name, dump_key(made).reveal(), expect=0)
            return made
        key = load_key(entry.value)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise AcmeError("the key of the account is none that this version of Tulle made")
        return key

    async def _binding(self, issuer: Issuer, namespace: str) -> Binding | None:
        said = issuer.external_account_binding
        if said is None:
            return None
        ref = said.key_secret_ref
        there = await secret_at(self._documents, Key(kind="Secret", namespace=namespace, name=ref.name))
        value = there.entries.get(ref.key) if there else None
        if value is None:
            raise AcmeError(f"issuer.externalAccountBinding: there is no entry {ref.key} in a Secret {ref.name} in namespace {namespace}")
        try:
            return Binding(key_id=said.key_id, mac=Hidden(jws.decoded(value.reveal().decode().strip().rstrip("="))))
        except ValueError:
            raise AcmeError(f"issuer.externalAccountBinding: the entry {ref.key} of Secret {ref.name} is not base64url") from None

    def forget(self) -> None:
        """What is known of authorities is asked anew."""
        self._known.clear()


def _digest(issuer: Issuer, namespace: str) -> str:
    """Accounts with a binding belong to the namespace whose Secret proves it."""
    binding = issuer.external_account_binding
    said = [issuer.server, issuer.email or "", *((namespace, binding.key_id) if binding else ())]
    return sha256(json.dumps(said).encode()).hexdigest()[:32]
