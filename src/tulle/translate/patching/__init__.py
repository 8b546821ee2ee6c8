"""A user's own changes, made on the messages: Istio's EnvoyFilter (BEHAVIOURS 3)."""

from tulle.translate.patching.bundles import Patcher

__all__ = ["Patcher"]
