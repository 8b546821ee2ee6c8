"""Beside the workload: starts its proxy and the workload itself, tells the registry of both, and ends them without losing a request."""
