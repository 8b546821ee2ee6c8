"""Consul's configuration entries in the mesh's own words: rules for the callers of a service, and which instances they mean."""
