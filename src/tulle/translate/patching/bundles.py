"""Bundles with patches applied, made once for each bundle and set of patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from tulle.model import patch_names
from tulle.model.patches import Patch, PatchSet
from tulle.protos import pb
from tulle.translate.patching import listeners, routes
from tulle.translate.patching.lists import merged
from tulle.translate.patching.values import Values
from tulle.translate.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Bundle, Entry, content_hash

_OUTBOUND = 2
"""core.v3.TrafficDirection.OUTBOUND"""


class Patcher:
    def __init__(self) -> None:
        # None for a bundle that stays as it is: a value that is its own key would never be let go.
        self._known: WeakKeyDictionary[PatchSet, WeakKeyDictionary[Bundle, Bundle | None]] = WeakKeyDictionary()
        self._added: WeakKeyDictionary[PatchSet, Bundle] = WeakKeyDictionary()

    def patched(self, bundles: tuple[Bundle, ...], by: PatchSet, declared: Mapping[str, int]) -> tuple[Bundle, ...]:
        """The bundles as changed, and one more with what is added. `declared`: the ports that listeners stand for, by name."""
        known = self._known.setdefault(by, WeakKeyDictionary())
        work = _Work(by, declared)
        out = []
        for bundle in bundles:
            if bundle not in known:
                made = work.bundle(bundle)
                known[bundle] = None if made is bundle else made
            out.append(known[bundle] or bundle)
        if by not in self._added:
            self._added[by] = Bundle.of(work.added())
        added = self._added[by]
        return (*out, added) if any(added) else tuple(out)


class _Work:
    def __init__(self, by: PatchSet, declared: Mapping[str, int]) -> None:
        self.patches = by.patches
        self.gateway = by.gateway
        self.services = by.services
        self.declared = declared
        self.values = Values()
        self.extensions = {p: self.values(p) for p in by.patches if p.apply_to == "EXTENSION_CONFIG"}

    def bundle(self, bundle: Bundle) -> Bundle:
        """The very bundle where nothing in it changes."""
        changed = [self.entry(entry) for entry in bundle]
        if all(new is old for new, old in zip(changed, bundle, strict=True)):
            return bundle
        kept = Bundle.of(entry for entry in changed if entry is not None)
        return replace(kept, duplicates=bundle.duplicates)

    def entry(self, entry: Entry) -> Entry | None:
        if entry.type_url == CLUSTER:
            return self.cluster(entry)
        if entry.type_url == LISTENER:
            return self.listener(entry)
        return self.routes(entry) if entry.type_url == ROUTES else entry

    def cluster(self, entry: Entry) -> Entry | None:
        context = patch_names.context_of(entry.name, gateway=self.gateway)
        meant = [
            p
            for p in self.patches
            if p.apply_to == "CLUSTER"
            and p.operation != "ADD"
            and patch_names.in_context(p, context)
            and patch_names.matches_cluster(p.match, entry.name, self.services)
        ]
        if any(p.operation == "REMOVE" for p in meant):
            return None
        if not meant:
            return entry
        message = pb.Cluster.FromString(entry.body)
        for patch in meant:
            merged(message, patch, self.values(patch))
        return _again(entry, message, meant)

    def listener(self, entry: Entry) -> Entry | None:
        message = listeners.parse(entry.body)
        inbound = message.traffic_direction != _OUTBOUND
        context = "GATEWAY" if self.gateway else "SIDECAR_INBOUND" if inbound else "SIDECAR_OUTBOUND"
        work = listeners.ListenerPatcher(message, context, self.declared.get(entry.name, 0), self.values)
        if not work.run(self.patches):
            return None
        by = list(work.by)
        if listeners.with_extensions(message, {v.name: v.typed_config for v in self.extensions.values()}):
            by += self.extensions
        return _again(entry, message, by) if by else entry

    def routes(self, entry: Entry) -> Entry:
        context = patch_names.context_of(entry.name, gateway=self.gateway)
        meant = tuple(p for p in self.patches if p.apply_to in routes.KINDS and patch_names.in_context(p, context))
        if not any(patch_names.matches_table(p.match, entry.name) for p in meant):
            return entry
        message = pb.RouteConfiguration.FromString(entry.body)
        by = routes.run(message, meant, self.values)
        return _again(entry, message, by) if by else entry

    def added(self) -> Iterator[Entry]:
        for patch in self.patches:
            if patch.operation == "ADD" and patch.apply_to in _ADDED:
                value = self.values(patch)
                body = value.SerializeToString(deterministic=True)
                eds = patch.apply_to == "CLUSTER" and value.HasField("eds_cluster_config")
                needs = ((ENDPOINTS, value.eds_cluster_config.service_name or value.name),) if eds else ()
                yield Entry(
                    type_url=_ADDED[patch.apply_to],
                    name=value.name,
                    version=content_hash(body),
                    body=body,
                    sources=(patch.source,),
                    references=needs,
                )


_ADDED = {"CLUSTER": CLUSTER, "LISTENER": LISTENER}


def _again(entry: Entry, message: Any, by: list[Patch]) -> Entry:
    body = message.SerializeToString(deterministic=True)
    sources = tuple(dict.fromkeys((*entry.sources, *(p.source for p in by))))
    return replace(entry, body=body, version=content_hash(body), sources=sources)
