"""What is tried against Envoy to find the document that a proxy refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from support.compiled import documents, gateway, instance
from support.edge import edge
from support.tokens import Issuer
from support.words import tokens
from tulle.compile import build, view
from tulle.discovery.events import Rejected
from tulle.model.mesh import Inputs
from tulle.server.refusals import Refusal, judge
from tulle.translate.snapshot import LISTENER
from tulle.translate.translator import Translator

KEYS = "https://issuer.example/keys"


def test_each_trial_is_of_the_very_mesh_that_was_refused() -> None:
    """With the keys, say, that were fetched because a document names them: without them it would be another filter."""
    issuer, far = Issuer(), instance("far", number=80)
    of = Inputs(resources=documents(edge(8080, tokens(issuer, namespace="istio-system", keys=KEYS))), registrations={far.id: far})
    whole = replace(of, key_sets={KEYS: issuer.key_set})
    built, tried = build(whole), list[str]()
    snapshot = Translator().snapshot(view(built.mesh, gateway()))
    refused = Rejected(type_url=LISTENER, entries=tuple(snapshot.entries(LISTENER)), message="no", snapshot=snapshot)

    async def validate(config: Mapping[str, Any]) -> str | None:
        tried.append(json.dumps(config))
        return None

    assert asyncio.run(judge(Refusal(node=gateway(), rejected=refused, taken=0), whole, built, {}, validate)) == ()
    key = json.loads(issuer.key_set)["keys"][0]["n"]
    assert [key in config for config in tried] == [True]
