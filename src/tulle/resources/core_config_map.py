"""Kubernetes' core `v1/ConfigMap`: of use for the certificates of authorities that policies refer to."""

from __future__ import annotations

from collections.abc import Iterable

from tulle.resources import certificates
from tulle.resources.scalars import NO_TEXTS, Flag, TextMap
from tulle.resources.spec import Problem, Spec

FIELDS = ("data", "binaryData", "immutable")
"""A ConfigMap has no `spec`: these stand at the top of the document."""
ROOTS = "ca.crt"


class ConfigMap(Spec):
    data: TextMap = NO_TEXTS
    binary_data: TextMap = NO_TEXTS
    immutable: Flag = False

    def check(self) -> Iterable[Problem]:
        if ROOTS in self.data:
            try:
                certificates.parse(self.data[ROOTS].encode())
            except ValueError as error:
                yield ("data", ROOTS), str(error)
