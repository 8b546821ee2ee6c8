"""Callers in plain text, where mutual TLS is taken: proxies count their calls, by the port and by the caller's address."""

PREFIX = "plain_text"
"""Of the statistics. A whole name: `plain_text.calls.port.80.caller.10.0.0.7`."""
CALLS, REFUSED = "calls", "refused"
PORT, CALLER = "port", "caller"
MOST = 256
"""So many callers of a port are told apart at one time. Whoever has not called for a while makes room for others."""
MOST_TOLD = 256
"""So many are told of all ports of a workload, the latest."""
FORGOTTEN = 60.0
"""Seconds after which a proxy looks for those who have not called since it looked last."""
