"""Transcodings: where JSON is turned into gRPC. Those of the root namespace and of the own one add up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tulle.compile.attachment import by_namespace, is_for, takes
from tulle.model.identity import Labels
from tulle.model.resource import Key, Resource
from tulle.model.transcoding import Transcoding
from tulle.resources.security.transcoding import Transcoding as Spec
from tulle.resources.security.transcoding import described, services_of

Document = Resource[Spec]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transcodings:
    """All of the mesh, by namespace, each list from the oldest."""

    root_namespace: str = ""
    by_namespace: Mapping[str, tuple[Document, ...]] = field(default_factory=dict)

    def at(self, namespace: str, labels: Labels, service: str = "") -> tuple[Transcoding, ...]:
        """Those that hold at a workload of a service."""
        return tuple(_made(d) for d in self._in(self.root_namespace, namespace) if takes(d, namespace, labels, service))

    def at_edge(self, namespace: str, labels: Labels, served: Mapping[Key, frozenset[str]]) -> tuple[Transcoding, ...]:
        """Those that hold at a proxy's port that serves some Gateways: for all hosts of the port, as its filters are."""
        named = (d for d in self._in(*(g.namespace for g in served)) if any(is_for(d, gateway) for gateway in served))
        return tuple(dict.fromkeys((*self.at(namespace, labels), *map(_made, named))))

    def _in(self, *namespaces: str) -> Iterator[Document]:
        for namespace in dict.fromkeys(namespaces):
            yield from self.by_namespace.get(namespace, ())


NO_TRANSCODINGS = Transcodings()


def transcodings(documents: Iterable[Document], root_namespace: str) -> Transcodings:
    """Those of a mesh, which come from the oldest."""
    return Transcodings(root_namespace=root_namespace, by_namespace=by_namespace(documents))


def _made(document: Document) -> Transcoding:
    spec = document.spec
    found = described(spec.descriptors) if spec.descriptors else None
    return Transcoding(
        source=document.at("spec"),
        services=spec.services or (services_of(found) if found else ()),
        descriptors=found.SerializeToString(deterministic=True) if found else b"",
        descriptor_file=spec.descriptor_file or "",
        auto_mapping=spec.auto_mapping,
        ignore_unknown_query_parameters=spec.ignore_unknown_query_parameters,
        convert_status=spec.convert_grpc_status,
        indented=spec.print.add_whitespace,
        unset_fields=spec.print.always_print_primitive_fields,
        enum_numbers=spec.print.always_print_enums_as_ints,
        names_as_written=spec.print.preserve_proto_field_names,
    )
