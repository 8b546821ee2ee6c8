"""JSON for gRPC services: Envoy's grpc_json_transcoder filter. Routes are chosen by the request as the caller wrote it."""

from __future__ import annotations

from collections.abc import Iterable

from tulle.model.transcoding import Transcoding
from tulle.protos import any_, pb
from tulle.translate.values import Fields

NAME = "envoy.filters.http.grpc_json_transcoder"


def http_filters(transcodings: Iterable[Transcoding]) -> list[Fields]:
    """One for each. A request that none of its methods is mapped to passes untouched."""
    return [{"name": NAME, "typed_config": any_(_transcoder(of))} for of in transcodings]


def _transcoder(of: Transcoding) -> object:
    where: Fields = {"proto_descriptor_bin": of.descriptors} if of.descriptors else {"proto_descriptor": of.descriptor_file}
    return pb.GrpcJsonTranscoder(
        **where,
        services=list(of.services),
        auto_mapping=of.auto_mapping,
        ignore_unknown_query_parameters=of.ignore_unknown_query_parameters,
        # Else a request with a parameter too many would go on as it is, which no gRPC server understands.
        request_validation_options={"reject_unknown_query_parameters": not of.ignore_unknown_query_parameters},
        convert_grpc_status=of.convert_status,
        match_incoming_request_route=True,
        print_options={
            "add_whitespace": of.indented,
            "always_print_primitive_fields": of.unset_fields,
            "always_print_enums_as_ints": of.enum_numbers,
            "preserve_proto_field_names": of.names_as_written,
        },
    )
