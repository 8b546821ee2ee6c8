"""Configuration entries and intentions over Consul's API: they are documents like all others, in another spelling."""
