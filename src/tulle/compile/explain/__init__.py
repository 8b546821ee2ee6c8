"""Explain: where a request goes, and why, from the very view that the proxy is sent. Pure: it reads no clock and sends nothing."""
