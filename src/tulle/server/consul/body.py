"""Bodies as Consul reads them: keys in any case, CamelCase or snake_case, durations as text or nanoseconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tulle.model.frozen import FrozenMap
from tulle.registry import durations
from tulle.registry.transitions import Refused


class BadBodyError(Refused):
    """A body that cannot be read."""

    def __init__(self, why: str) -> None:
        super().__init__(400, f"Request decode failed: {why}")


class Body:
    """A JSON object. Reading a field of the wrong type raises BadBodyError; null is as good as nothing."""

    def __init__(self, data: Any, where: str = "") -> None:
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise BadBodyError(f"{where or 'the body'} must be an object")
        self._where = where
        self.given: Mapping[str, Any] = {folded(key): value for key, value in data.items() if value is not None}

    def has(self, name: str) -> bool:
        return folded(name) in self.given

    def _get(self, names: tuple[str, ...]) -> Any:
        return next((self.given[key] for name in names if (key := folded(name)) in self.given), None)

    def text(self, *names: str) -> str:
        value = self._get(names)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise BadBodyError(f"{self._at(names[0])} must be a string")
        return clean(value, self._at(names[0]))

    def number(self, name: str, default: int = 0, *, most: int = (1 << 63) - 1) -> int:
        value = self._get((name,))
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadBodyError(f"{self._at(name)} must be a whole number")
        if not -most <= value <= most:
            raise BadBodyError(f"{self._at(name)} is out of range")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self._get((name,))
        if value is None:
            return default
        if not isinstance(value, bool):
            raise BadBodyError(f"{self._at(name)} must be true or false")
        return value

    def seconds(self, *names: str) -> float:
        """A duration; 0 where none was given."""
        value = self._get(names)
        try:
            return 0.0 if value is None else durations.read(value)
        except ValueError as error:
            raise BadBodyError(f"{self._at(names[0])}: {error}") from None

    def texts(self, *names: str) -> tuple[str, ...]:
        value = self._get(names)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise BadBodyError(f"{self._at(names[0])} must be a list of strings")
        return tuple(clean(item, names[0]) for item in value)

    def words(self, name: str) -> FrozenMap[str, str]:
        value = self._get((name,))
        if value is None:
            return FrozenMap()
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise BadBodyError(f"{self._at(name)} must be an object of strings")
        return FrozenMap({clean(key, name): clean(item, name) for key, item in value.items()})

    def lists(self, name: str) -> FrozenMap[str, tuple[str, ...]]:
        """Names with lists of strings, such as headers. A lone string is a list of one."""
        value = self._get((name,))
        if value is None:
            return FrozenMap()
        if not isinstance(value, dict):
            raise BadBodyError(f"{self._at(name)} must be an object")
        return FrozenMap({clean(key, name): _strings(item, self._at(name)) for key, item in value.items()})

    def part(self, name: str) -> Body | None:
        value = self._get((name,))
        return None if value is None else Body(value, self._at(name))

    def parts(self, name: str) -> list[Body]:
        value = self._get((name,))
        if value is None:
            return []
        if not isinstance(value, list):
            raise BadBodyError(f"{self._at(name)} must be a list")
        return [Body(item, self._at(name)) for item in value if item is not None]

    def objects(self, name: str) -> Mapping[str, Body]:
        """An object of objects, under the keys that were given."""
        value = self._get((name,))
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise BadBodyError(f"{self._at(name)} must be an object")
        return {clean(key, name): Body(item, self._at(name)) for key, item in value.items()}

    def raw(self, name: str) -> str:
        """A part as compact JSON text; empty where there is none."""
        value = self._get((name,))
        if value is None:
            return ""
        if not isinstance(value, dict):
            raise BadBodyError(f"{self._at(name)} must be an object")
        return json.dumps(value, separators=(",", ":"))

    def _at(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name


def clean(text: str, where: str) -> str:
    """Text that can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadBodyError(f"{where} is not valid text") from None
    return text


def _strings(value: object, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (clean(value, where),)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadBodyError(f"{where} must be a list of strings")
    return tuple(clean(item, where) for item in value)


def folded(key: str) -> str:
    """A key without regard to how its words are joined."""
    return key.replace("_", "").lower()
