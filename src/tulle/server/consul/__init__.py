"""Consul's HTTP API, as its clients know it, under `/v1`."""
