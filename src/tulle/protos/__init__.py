"""Envoy's message types, read out of the very Envoy binary that is installed, so that no field is ever missing or skewed.

`extract` finds the descriptors in the binary, `cache` keeps them in the user's cache directory, `library` makes message
classes on demand. `pb.Cluster(...)` is the short way to the types that Tulle speaks.
"""

from __future__ import annotations

from tulle.protos.json import from_dict, to_dict
from tulle.protos.library import Library, any_, envoy_path, library, message
from tulle.protos.names import pb, type_url

__all__ = ["Library", "any_", "envoy_path", "from_dict", "library", "message", "pb", "to_dict", "type_url"]
