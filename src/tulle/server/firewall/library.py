"""libmodsecurity 3 through its C interface (headers/modsecurity/{modsecurity,rules_set,transaction}.h)."""

from __future__ import annotations

import ctypes
import itertools
import secrets
from collections.abc import Iterable
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_void_p
from typing import Any

from tulle.server.firewall.words import HttpRequest

NAME = "libmodsecurity.so.3"
_LOG = ctypes.CFUNCTYPE(None, c_void_p, c_char_p)
_GENUINE = b'[file "'

Headers = Iterable[tuple[bytes, bytes]]


class _Intervention(ctypes.Structure):
    """Its texts are to be freed by whoever asked for it."""

    _fields_ = (("status", c_int), ("pause", c_int), ("url", c_void_p), ("log", c_void_p), ("disruptive", c_int))


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
    "msc_add_n_response_header": (c_int, c_void_p, c_char_p, c_size_t, c_char_p, c_size_t),
    "msc_process_response_headers": (c_int, c_void_p, c_int, c_char_p),
    "msc_append_response_body": (c_int, c_void_p, c_char_p, c_size_t),
    "msc_process_response_body": (c_int, c_void_p),
    "msc_intervention": (c_int, c_void_p, POINTER(_Intervention)),
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
        self._c.free.restype, self._c.free.argtypes = None, (c_void_p,)  # the C library's, on which the engine stands
        self._engine = self._c.msc_init()
        self._said: dict[int, list[bytes]] = {}
        self._numbers = itertools.count(1)
        words = secrets.token_hex(14)
        self._here = ":".join(["fd00", *(words[i : i + 4] for i in range(0, 28, 4))]).encode()
        """The server's address, as the engine knows it: nobody can guess it."""
        self._heard = _LOG(self._hear)  # kept: the engine calls it as long as it lives
        self._c.msc_set_log_cb(self._engine, self._heard)

    def _hear(self, number: int | None, text: bytes) -> None:
        if (found := self._said.get(number or 0)) is not None:
            found.append(self.told(text))

    def told(self, text: bytes) -> bytes:
        """What the engine itself says of a rule: before and behind it, it tells parts of the request just as they came."""
        return text.partition(b'[hostname "%s"]' % self._here)[0].rpartition(_GENUINE)[2]

    def rules(self, text: str) -> int:
        """A set of rules. Raises ValueError with what is wrong."""
        made, why = self._c.msc_create_rules_set(), c_char_p()
        if self._c.msc_rules_add(made, text.encode(), ctypes.byref(why)) < 0:
            raise ValueError((why.value or b"the rules cannot be read").decode("utf-8", "replace"))
        return int(made)

    def forget(self, rules: int) -> None:
        """Gives a set's memory back. No request may be looked at by it any more."""
        self._c.msc_rules_cleanup(rules)

    def transaction(self, rules: int) -> Transaction:
        """For one request and its answer; to be closed."""
        number = next(self._numbers)
        self._said[number] = said = list[bytes]()
        return Transaction(self, number, rules, said)

    def begin(self, number: int, rules: int) -> tuple[ctypes.CDLL, int, bytes]:
        return self._c, self._c.msc_new_transaction(self._engine, rules, number), self._here

    def end(self, number: int) -> None:
        del self._said[number]


class Transaction:
    """`said`: what rules told, so far."""

    def __init__(self, library: Library, number: int, rules: int, said: list[bytes]) -> None:
        self.said = said
        self._library, self._number = library, number
        self._c, self._on, self._here = library.begin(number, rules)

    def request(self, of: HttpRequest) -> int:
        """The status with which it is to be refused; 0 for none."""
        c, on = self._c, self._on
        c.msc_process_connection(on, of.client.encode(), 0, self._here, 0)
        c.msc_process_uri(on, of.uri, of.method.encode(), b"2.0" if of.framed else b"1.1")
        for name, value in of.headers:
            c.msc_add_n_request_header(on, name, len(name), value, len(value))
        c.msc_process_request_headers(on)
        if status := self._refused():
            return status
        if of.body:
            c.msc_append_request_body(on, of.body, len(of.body))
        c.msc_process_request_body(on)
        return self._refused()

    def answer(self, status: int, headers: Headers, body: bytes) -> int:
        """The same for the answer."""
        c, on = self._c, self._on
        for name, value in headers:
            c.msc_add_n_response_header(on, name, len(name), value, len(value))
        c.msc_process_response_headers(on, status, b"HTTP 1.1")
        if refused := self._refused():
            return refused
        c.msc_append_response_body(on, body, len(body))
        c.msc_process_response_body(on)
        return self._refused()

    def close(self) -> None:
        self._c.msc_transaction_cleanup(self._on)
        self._library.end(self._number)

    def _refused(self) -> int:
        """What a rule that refuses has to say stands in the refusal alone."""
        found = _Intervention(200, 0, None, None, 0)
        if not self._c.msc_intervention(self._on, ctypes.byref(found)):
            return 0
        if found.log:
            self.said.append(self._library.told(ctypes.string_at(found.log)))
        self._c.free(found.log)
        self._c.free(found.url)
        return int(found.status)
