"""The edges: HTTP for people and programs, gRPC for proxies."""

import os

# The control plane starts programs while gRPC runs; those replace the process image at once, so gRPC has nothing to prepare for.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
