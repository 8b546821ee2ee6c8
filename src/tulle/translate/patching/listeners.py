"""Patches of listeners, their filter chains and their filters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tulle.model import patch_names
from tulle.model.patches import Patch
from tulle.protos import any_, library, pb
from tulle.translate.patching import matching
from tulle.translate.patching.lists import change, merged
from tulle.translate.patching.values import Values

HCM = "envoy.filters.network.http_connection_manager"
_ROUTER = "envoy.filters.http.router"
_TERMINAL = (HCM, "envoy.filters.network.tcp_proxy")
_EARLY = ("AUTHN", "AUTHZ")


class ListenerPatcher:
    """Patches one listener; `by` holds the patches that did something."""

    def __init__(self, listener: Any, context: str, declared: int, values: Values) -> None:
        self.listener = listener
        self.context = context
        self.declared = declared
        self.values = values
        self.by: list[Patch] = []

    def run(self, patches: tuple[Patch, ...]) -> bool:
        """Whether the listener is still there. In Istio's order: what contains comes before what is contained."""
        meant = [p for p in patches if self._meant(p)]
        for patch in (p for p in meant if p.apply_to == "LISTENER"):
            if patch.operation == "REMOVE":
                return False
            self._note(patch, merged(self.listener, patch, self.values(patch)))
        for patch in (p for p in meant if p.apply_to == "LISTENER_FILTER"):
            self._note(patch, self._listener_filter(patch))
        for patch in (p for p in meant if p.apply_to == "FILTER_CHAIN"):
            self._note(patch, self._chains(patch))
        for chain in self.listener.filter_chains:
            self._filters(chain, meant)
        return bool(self.listener.filter_chains or self.listener.listener_filters)

    def _meant(self, patch: Patch) -> bool:
        if patch.apply_to == "LISTENER" and patch.operation == "ADD":
            return False
        here = patch_names.in_context(patch, self.context)
        return here and matching.matches_listener(patch.match, self.listener, self.context, self.declared)

    def _note(self, patch: Patch, done: bool) -> None:
        if done:
            self.by.append(patch)

    def _chain(self, patch: Patch, chain: Any) -> bool:
        return matching.matches_chain(patch.match, chain, self.listener, self.declared) and matching.has_filter(patch.match, chain)

    def _chains(self, patch: Patch) -> bool:
        return change(self.listener.filter_chains, patch, self.values(patch), lambda chain: self._chain(patch, chain))

    def _listener_filter(self, patch: Patch) -> bool:
        wanted = patch.match.listener_filter
        return change(
            self.listener.listener_filters, patch, self.values(patch), lambda f: not wanted or matching.same_filter(wanted, f.name)
        )

    def _filters(self, chain: Any, meant: list[Patch]) -> None:
        for patch in meant:
            if patch.apply_to == "NETWORK_FILTER" and matching.matches_chain(patch.match, chain, self.listener, self.declared):
                self._note(patch, self._network(chain, patch))
        for patch in meant:
            if patch.apply_to == "HTTP_FILTER" and self._chain(patch, chain):
                self._note(patch, self._http(chain, patch))

    def _network(self, chain: Any, patch: Patch) -> bool:
        wanted = patch.match.filter
        return change(chain.filters, patch, self.values(patch), lambda f: not wanted or matching.same_filter(wanted, f.name), _before_last)

    def _http(self, chain: Any, patch: Patch) -> bool:
        wanted = patch.match.sub_filter
        done = False
        for place, manager in _managers(chain):
            end = (lambda _: 0) if patch.filter_class in _EARLY else _before_router
            same = change(
                manager.http_filters, patch, self.values(patch), lambda f: not wanted or matching.same_filter(wanted, f.name), end
            )
            if same:
                place.typed_config.CopyFrom(any_(manager))
                done = True
        return done


def _managers(chain: Any) -> Iterator[tuple[Any, Any]]:
    for place in chain.filters:
        if place.typed_config.type_url.endswith(".HttpConnectionManager"):
            yield place, library().unpack(place.typed_config)


def _before_last(filters: list[Any]) -> int:
    return len(filters) - bool(filters and filters[-1].name in _TERMINAL)


def _before_router(filters: list[Any]) -> int:
    return len(filters) - bool(filters and filters[-1].name == _ROUTER)


def with_extensions(listener: Any, extensions: dict[str, Any]) -> bool:
    """Puts extension configurations in the places that name them; whether there was one."""
    done = False
    for chain in listener.filter_chains:
        for place, manager in _managers(chain):
            named = [f for f in manager.http_filters if f.HasField("config_discovery") and f.name in extensions]
            for kind in named:
                kind.ClearField("config_discovery")
                kind.typed_config.CopyFrom(extensions[kind.name])
            if named:
                place.typed_config.CopyFrom(any_(manager))
                done = True
    return done


def parse(body: bytes) -> Any:
    return pb.Listener.FromString(body)
