"""Callers that cannot speak gRPC: gRPC-Web, and JSON that is transcoded."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from support.carried import ask, at, carried
from support.compiled import built, gateway, sidecar
from support.running import free_port
from tulle.compile.explain import Request, explain
from tulle.model.mesh import MeshSettings
from tulle.model.proxy import InboundPort
from tulle.model.service import Protocol
from tulle.resources.read import read

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
        if not details.method.startswith("/test.Talk/"):
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
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/test.Talk/Hear", body=body, headers={"content-type": content_type})
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


def shelves() -> FileDescriptorSet:
    """A service in the words of `protoc`: `Say` has a path of its own by `google.api.http`, `Hear` has none."""
    fields = [
        FieldDescriptorProto(name="text", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL"),
        FieldDescriptorProto(name="how_often", number=2, type="TYPE_INT32", label="LABEL_OPTIONAL"),
    ]
    file = FileDescriptorProto(
        name="talk.proto", package="test", syntax="proto3", message_type=[DescriptorProto(name="Word", field=fields)]
    )
    service = file.service.add(name="Talk")
    for name in ("Say", "Hear"):
        service.method.add(name=name, input_type=".test.Word", output_type=".test.Word")
    # google.api.http, extension 72295728 of MethodOptions: `get` is field 2 of HttpRule.
    rule = b"\x12\x10/v1/words/{text}"
    service.method[0].options.MergeFromString(_tag(72295728) + bytes((len(rule),)) + rule)
    return FileDescriptorSet(file=[file])


def _tag(number: int) -> bytes:
    value, out = number << 3 | 2, bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def descriptors() -> str:
    return base64.b64encode(shelves().SerializeToString()).decode()


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


POLICY = """---
apiVersion: tulle.dev/v1
kind: Transcoding
metadata: {{name: talk, namespace: {namespace}}}
spec:
  {said}
  print: {{preserveProtoFieldNames: true, alwaysPrintPrimitiveFields: true}}
"""
GUARD = """---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no, namespace: istio-system}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/v1/words/bad]}}]}]}
"""


def get(port: int, path: str) -> tuple[int, dict[str, object]]:
    status, _, body = ask(port, path)
    return status, json.loads(body) if body.startswith(b"{") else {"body": body.decode()}


@pytest.mark.parametrize("inline", [True, False])
def test_a_transcoding_at_the_gateway(tmp_path: Path, inline: bool) -> None:
    """Paths of its own, POST for the rest; errors with a status; what is no call of its passes; policies see what the caller wrote."""
    port, file = free_port(), tmp_path / "talk.pb"
    file.write_bytes(shelves().SerializeToString())
    said = f"descriptors: {descriptors()}" if inline else f"descriptorFile: {file}\n  services: [test.Talk]"
    text = EDGE.format(port=port) + POLICY.format(namespace="istio-system", said=said) + GUARD
    with talk() as target:
        instance = at("talk", 7000, target, id="talk", protocol=Protocol.GRPC)
        with carried(text, gateway(), tmp_path, instance):
            assert get(port, "/v1/words/hello?how_often=3") == (200, {"text": "hello", "how_often": 3})
            assert get(port, "/v1/words/bad") == (403, {"body": "RBAC: access denied"})
            status, kind, body = post(port, "application/json", b'{"text": "hello"}')
            assert (status, kind, json.loads(body)) == (200, "application/json", {"text": "hello", "how_often": 0})
            assert get(port, "/v1/words/hello?nothing=3")[0] == 400
            status, kind, body = post(port, "application/grpc-web+proto", b"\x00" + struct.pack(">I", 7) + b"\x0a\x05hello")
            assert (status, kind) == (200, "application/grpc-web+proto")
            curl = shutil.which("curl")
            if curl:
                told = subprocess.run([curl, "-s", f"http://127.0.0.1:{port}/v1/words/curl"], capture_output=True, check=True, timeout=60)
                assert json.loads(told.stdout)["text"] == "curl"


def test_a_transcoding_at_the_workload(tmp_path: Path) -> None:
    port = free_port()
    text = POLICY.format(namespace="default", said=f"targetRefs: [{{kind: Service, name: talk}}]\n  descriptors: {descriptors()}")
    with talk() as target:
        inbound = (InboundPort(service_port=7000, listen=port, target=target, protocol=Protocol.GRPC),)
        node = replace(sidecar(app="talk", inbound=inbound), service="talk")
        off = MeshSettings(mutual_tls=False)
        with carried(text, node, tmp_path, settings=off):
            assert get(port, "/v1/words/hello") == (200, {"text": "hello", "how_often": 0})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("descriptors: '%'", "descriptors: must be base64 of a file that protoc wrote with --descriptor_set_out"),
        ("descriptors: aGVsbG8K", "descriptors: is no google.protobuf.FileDescriptorSet"),
        ("services: [a.B]", "descriptors: required, or descriptorFile"),
        ("descriptorFile: talk.pb\n  services: [a.B]", "descriptorFile: must be an absolute path on the proxy's machine"),
        ("descriptorFile: /talk.pb", "services: required beside descriptorFile, which only the proxy reads"),
        (f"descriptors: {descriptors()}\n  services: [test.Talk, a.B]", "services[1]: a.B is not among the descriptors: test.Talk"),
        (f"descriptors: {descriptors()}\n  descriptorFile: /talk.pb", "descriptorFile: must not stand beside descriptors"),
    ],
)
def test_transcodings_that_are_wrong(spec: str, said: str) -> None:
    text = f"apiVersion: tulle.dev/v1\nkind: Transcoding\nmetadata: {{name: a}}\nspec:\n  {spec}\n"
    assert f"spec.{said}" in " ".join(str(v) for v in read(text, "f.yaml").violations)


def test_imports_that_are_missing_are_named() -> None:
    lacking = shelves()
    lacking.file[0].dependency.extend(["google/api/annotations.proto", "other/things.proto"])
    written = base64.b64encode(lacking.SerializeToString()).decode()
    text = f"apiVersion: tulle.dev/v1\nkind: Transcoding\nmetadata: {{name: a}}\nspec: {{descriptors: {written}}}\n"
    assert [violation.message for violation in read(text, "f.yaml").violations] == [
        f"lacks {name}: make them with protoc --include_imports" for name in ("google/api/annotations.proto", "other/things.proto")
    ]


def test_explain_names_it() -> None:
    text = EDGE.format(port=8080) + POLICY.format(namespace="istio-system", said=f"descriptors: {descriptors()}")
    mesh = built(text, at("talk", 7000, 7001, id="talk", protocol=Protocol.GRPC)).mesh
    found = explain(mesh, gateway(), Request(url="http://a.example:8080/v1/words/x"))
    (step,) = (s for s in found.steps if s.rule == "Transcoding/talk")
    assert (step.matched, "test.Talk becomes gRPC" in step.why, step.source.startswith("rules.yaml:")) == (True, True, True)
