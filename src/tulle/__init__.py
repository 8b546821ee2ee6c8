"""Tulle: a load balancer and service mesh for plain machines."""

import os

__version__ = "0.1.0"

# Programs are started while gRPC runs; they replace the process image at once, so that gRPC has nothing to prepare for, and nothing
# to tell. It reads this when it is first imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
