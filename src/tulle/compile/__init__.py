"""Decisions: what the mesh is, and what each proxy is to do."""

from tulle.compile.building import Built, build
from tulle.compile.mesh import Mesh
from tulle.compile.served import Served
from tulle.compile.views import gateway_addresses, view

__all__ = ["Built", "Mesh", "Served", "build", "gateway_addresses", "view"]
