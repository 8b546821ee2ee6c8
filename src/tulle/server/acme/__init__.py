"""Certificates from public authorities (ACME, RFC 8555): ordered, proved by the gateways, put into Secrets, and renewed."""
