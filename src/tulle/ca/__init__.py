"""The mesh's own certificate authority: a root, an intermediate, and short-lived certificates for workloads."""
