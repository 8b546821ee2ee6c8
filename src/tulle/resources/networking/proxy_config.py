"""ProxyConfig: how proxies are started."""

from __future__ import annotations

from typing import Annotated

from tulle.resources.names import LabelMap
from tulle.resources.scalars import NO_TEXTS, Text, TextMap, whole
from tulle.resources.spec import Spec

_LOADING = ("LD_", "GLIBC_TUNABLES")


def may_be_set(name: str) -> bool:
    """Whether a document may set an environment variable of proxies: none that makes a program load other code than its own."""
    return not name.startswith(_LOADING)


class ProxySelector(Spec):
    match_labels: LabelMap = NO_TEXTS


class ProxyImage(Spec):
    image_type: Text | None = None


class ProxyConfig(Spec):
    selector: ProxySelector | None = None
    concurrency: Annotated[int, whole(0, 2**31 - 1)] | None = None
    environment_variables: TextMap = NO_TEXTS
    image: ProxyImage | None = None
