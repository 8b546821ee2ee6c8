"""Decisions on the Kubernetes Gateway API: what is attached to what, in which order rules are tried, and what is said of it."""
