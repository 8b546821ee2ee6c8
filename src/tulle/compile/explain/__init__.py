"""Explain: where a request goes, and why, from the very view that the proxy is sent. Pure: it reads no clock and sends nothing."""

from tulle.compile.explain.beyond import explain_through
from tulle.compile.explain.can import can_request
from tulle.compile.explain.entry import UnusableRequestError
from tulle.compile.explain.payload import explain_request, read_payload
from tulle.compile.explain.request import Request
from tulle.compile.explain.trace import Arrival, Step, Trace
from tulle.compile.explain.views import explain, explain_view

__all__ = [
    "Arrival",
    "Request",
    "Step",
    "Trace",
    "UnusableRequestError",
    "can_request",
    "explain",
    "explain_request",
    "explain_through",
    "explain_view",
    "read_payload",
]
