"""libmodsecurity 3 through its C interface (headers/modsecurity/{modsecurity,rules_set,transaction}.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_void_p
from typing import Any

NAME = "libmodsecurity.so.3"
_LOG = ctypes.CFUNCTYPE(None, c_void_p, c_char_p)


class _Intervention(ctypes.Structure):
    _fields_ = (("status", c_int), ("pause", c_int), ("url", c_char_p), ("log", c_char_p), ("disruptive", c_int))


_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "msc_init": (c_void_p,),
    "msc_set_log_cb": (None, c_void_p, _LOG),
    "msc_create_rules_set": (c_void_p,),
    "msc_rules_add": (c_int, c_void_p, c_char_p, POINTER(c_char_p)),
    "msc_rules_cleanup": (c_int, c_void_p),
    "msc_new_transaction": (c_void_p, c_void_p, c_void_p, c_void_p),
    "msc_process_connection": (c_int, c_void_p, c_char_p, c_int, c_char_p, c_int),
    "msc_process_uri": (c_int, c_void_p, c_char_p, c_char_p, c_char_p),
    "msc_add_n_request_header": (c_int, c_void_p, c_char_p, c_size_t, c_char_p, c_size_t),
    "msc_process_request_headers": (c_int, c_void_p),
    "msc_append_request_body": (c_int, c_void_p, c_char_p, c_size_t),
    "msc_process_request_body": (c_int, c_void_p),
    "msc_intervention": (c_int, c_void_p, POINTER(_Intervention)),
    "msc_process_logging": (c_int, c_void_p),
    "msc_transaction_cleanup": (None, c_void_p),
}


def loaded() -> ctypes.CDLL:
    """Raises OSError where the library is not on this machine."""
    return ctypes.CDLL(NAME)


class Library:
    """One instance of the engine. Raises OSError where the library is not on this machine.

    Calls give up Python's lock while they work, so threads can judge requests side by side.
    """

    def __init__(self) -> None:
        self._c = loaded()
        for name, (result, *arguments) in _FUNCTIONS.items():
            function = getattr(self._c, name)
            function.restype, function.argtypes = result, arguments
        self._engine = self._c.msc_init()
        self._said: dict[int, list[str]] = {}
        self._next = 0
        self._heard = _LOG(self._hear)  # kept: the engine calls it as long as it lives
        self._c.msc_set_log_cb(self._engine, self._heard)

    def _hear(self, number: int | None, text: bytes) -> None:
        if found := self._said.get(number or 0):
            found.append(text.decode("utf-8", "replace"))

    def rules(self, text: str) -> int:
        """A set of rules. Raises ValueError with what is wrong."""
        made, why = self._c.msc_create_rules_set(), c_char_p()
        if self._c.msc_rules_add(made, text.encode(), ctypes.byref(why)) < 0:
            raise ValueError((why.value or b"the rules cannot be read").decode("utf-8", "replace"))
        return int(made)

    def forget(self, rules: int) -> None:
        """Gives a set's memory back. No request may be looked at by it any more."""
        self._c.msc_rules_cleanup(rules)

    def judge(
        self, rules: int, method: str, uri: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes, client: str
    ) -> tuple[int, list[str]]:
        """The status with which a request is to be refused, 0 for none; and what the rules said of it."""
        c = self._c
        self._next += 1
        number = self._next
        self._said[number] = said = [""]
        on = c.msc_new_transaction(self._engine, rules, number)
        try:
            c.msc_process_connection(on, client.encode(), 0, b"127.0.0.1", 0)
            c.msc_process_uri(on, uri, method.encode(), b"1.1")
            for name, value in headers:
                c.msc_add_n_request_header(on, name, len(name), value, len(value))
            c.msc_process_request_headers(on)
            status = self._refused(on)
            if not status:
                c.msc_append_request_body(on, body, len(body))
                c.msc_process_request_body(on)
                status = self._refused(on)
            c.msc_process_logging(on)
        finally:
            c.msc_transaction_cleanup(on)
            del self._said[number]
        return status, said[1:]

    def _refused(self, on: int) -> int:
        found = _Intervention(200, 0, None, None, 0)
        return int(found.status) if self._c.msc_intervention(on, ctypes.byref(found)) else 0
