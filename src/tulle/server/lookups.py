"""All that the control plane looks up elsewhere because documents name it: keys of those who issue tokens, and providers to sign in at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tulle.compile.scope import Structure
from tulle.model.mesh import Inputs
from tulle.reach import ANYWHERE, Reach
from tulle.server import key_sets, providers
from tulle.server.kept import Kept


class Lookups:
    """`changed` is told whenever there is something new to `complete` inputs with."""

    def __init__(self, changed: Callable[[], None], reach: Reach = ANYWHERE) -> None:
        self._key_sets = Kept("key sets", partial(key_sets.fetch, reach=reach), changed)
        self._providers = Kept("providers", partial(providers.fetch, reach=reach), changed)

    def want(self, structure: Structure) -> None:
        """What its documents name, and nothing else from now on."""
        self._key_sets.want(structure.authentications.key_uris)
        self._providers.want(structure.logins.provider_uris)

    def complete(self, inputs: Inputs) -> Inputs:
        """With all that was found, and why the rest was not."""
        unfetched = {**self._key_sets.errors(), **self._providers.errors()}
        return replace(inputs, key_sets=self._key_sets.found, providers=self._providers.found, unfetched=unfetched)

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._key_sets.run())
            group.create_task(self._providers.run())
