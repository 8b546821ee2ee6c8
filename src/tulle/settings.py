"""What the operator chose, read once at start, with every mistake reported at once.

Each setting has an environment variable (`TULLE_STORE`) and, on the commands that use it, an option (`--store`), which wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from tulle.model.mesh import MeshSettings

PREFIX = "TULLE_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host and a port to listen on or to reach, written `host:port`, `[v6]:port` or `:port`."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_host: str = "127.0.0.1") -> Address:
        """Raises ValueError with what is wrong."""
        host, colon, port = text.strip().rpartition(":")
        if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
            raise ValueError(f"{text!r} is not an address: write host:port, for example 127.0.0.1:8500")
        return cls(host=host.strip("[]") or default_host, port=int(port))

    @property
    def is_loopback(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that a control plane needs to know before it starts."""

    store: str = ""
    """`sqlite:PATH`; empty for a database in the state directory."""
    state_dir: str = ""
    """Where the database lies; empty for `$XDG_STATE_HOME/tulle`, else `~/.local/state/tulle`."""
    api: Address = Address(host="127.0.0.1", port=8500)
    xds: Address = Address(host="127.0.0.1", port=15010)
    domain: str = "cluster.local"
    root_namespace: str = "istio-system"
    outbound: str = "ALLOW_ANY"
    """`ALLOW_ANY` or `REGISTRY_ONLY`: whether workloads may call hosts that the mesh does not know."""
    log_level: str = "info"
    log_format: str = "text"
    """`text` or `json`."""

    @property
    def mesh(self) -> MeshSettings:
        return MeshSettings(domain=self.domain, root_namespace=self.root_namespace, allow_any=self.outbound == "ALLOW_ANY")

    def database(self, environment: Mapping[str, str]) -> str:
        """The path of the SQLite database."""
        if self.store:
            return self.store.removeprefix("sqlite:")
        home = environment.get("XDG_STATE_HOME") or environment.get("HOME", ".") + "/.local/state"
        return f"{self.state_dir or home + '/tulle'}/tulle.db"


class SettingsError(ValueError):
    """One or more settings cannot be used. The message has a line for each."""


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is not one of {', '.join(allowed)}")
        return text

    return read


def _store(text: str) -> str:
    if text and not text.startswith("sqlite:"):
        raise ValueError(f"{text!r} is not a store: write sqlite:PATH")
    return text


def _name(text: str) -> str:
    if not text or text != text.strip(". /"):
        raise ValueError(f"{text!r} is not a name")
    return text


_READERS: Mapping[str, Callable[[str], Any]] = {
    "store": _store,
    "state_dir": str,
    "api": Address.parse,
    "xds": Address.parse,
    "domain": _name,
    "root_namespace": _name,
    "outbound": _one_of("ALLOW_ANY", "REGISTRY_ONLY"),
    "log_level": _one_of("debug", "info", "warning", "error"),
    "log_format": _one_of("text", "json"),
}


def read_settings(environment: Mapping[str, str], options: Mapping[str, str | None] | None = None) -> Settings:
    """Settings from the environment, overridden by the options that are not None. Raises SettingsError naming every mistake."""
    chosen = {f.name: environment[PREFIX + f.name.upper()] for f in fields(Settings) if PREFIX + f.name.upper() in environment}
    chosen |= {name: value for name, value in (options or {}).items() if value is not None}
    values: dict[str, Any] = {}
    mistakes = []
    for name, text in chosen.items():
        try:
            values[name] = _READERS[name](text)
        except ValueError as error:
            mistakes.append(f"{name.replace('_', '-')} ({PREFIX}{name.upper()}): {error}")
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return Settings(**values)
