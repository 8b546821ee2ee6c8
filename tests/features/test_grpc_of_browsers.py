"""Callers that cannot speak gRPC: gRPC-Web, and JSON that is transcoded."""

from __future__ import annotations

import base64
import http.client
import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from support.carried import at, carried
from support.compiled import gateway
from support.running import free_port
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy

EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: talk}}
spec: {{hosts: ["*"], gateways: [edge], http: [{{route: [{{destination: {{host: talk}}}}]}}]}}
"""


class _Echo(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != "/test.Talk/Say":
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request)


@contextmanager
def talk() -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((_Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def post(port: int, content_type: str, body: bytes) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/test.Talk/Say", body=body, headers={"content-type": content_type})
        answer = connection.getresponse()
        return answer.status, answer.getheader("content-type") or "", answer.read()
    finally:
        connection.close()


def test_grpc_web(tmp_path: Path) -> None:
    """A frame is a flag, four bytes of length, and the message; the trailers come as the last one, with flag 128."""
    port = free_port()
    with talk() as target:
        instance = at("talk", 7000, target, id="talk", protocol=Protocol.GRPC)
        with carried(EDGE.format(port=port), gateway(), tmp_path, instance):
            asked = b"\x00" + struct.pack(">I", 5) + b"hello"
            status, kind, body = post(port, "application/grpc-web+proto", asked)
            as_text = post(port, "application/grpc-web-text+proto", base64.b64encode(asked))
    assert (status, kind) == (200, "application/grpc-web+proto")
    assert body.startswith(asked + b"\x80")
    assert b"grpc-status:0" in body
    assert as_text[2].startswith(asked), "the answer is text only for those who accept that"


def descriptors() -> str:
    text = FieldDescriptorProto(name="text", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL")
    file = FileDescriptorProto(
        name="talk.proto", package="test", syntax="proto3", message_type=[DescriptorProto(name="Word", field=[text])]
    )
    service = file.service.add(name="Talk")
    service.method.add(name="Say", input_type=".test.Word", output_type=".test.Word")
    return base64.b64encode(FileDescriptorSet(file=[file]).SerializeToString()).decode()


TRANSCODE = """---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: talk-json, namespace: istio-system}}
spec:
  workloadSelector: {{labels: {{istio: ingressgateway}}}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {{context: GATEWAY, listener: {{filterChain: {{filter: {{subFilter: {{name: envoy.filters.http.router}}}}}}}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.grpc_json_transcoder
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder
          proto_descriptor_bin: {descriptors}
          services: [test.Talk]
          auto_mapping: true
"""


def test_json(tmp_path: Path) -> None:
    port = free_port()
    text = EDGE.format(port=port) + TRANSCODE.format(descriptors=descriptors())
    with talk() as target:
        instance = at("talk", 7000, target, id="talk", protocol=Protocol.GRPC)
        with carried(text, gateway(), tmp_path, instance):
            status, kind, body = post(port, "application/json", b'{"text": "hello"}')
    assert (status, kind, json.loads(body)) == (200, "application/json", {"text": "hello"})
