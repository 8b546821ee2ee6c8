from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.json_format import ParseError

from support.lone_envoy import lone_envoy
from tulle.protos import Library, any_, from_dict, library, message, pb, to_dict, type_url
from tulle.protos.names import NAMES


def test_messages_are_made_from_nested_fields() -> None:
    cluster = pb.Cluster(name="a", type="EDS", connect_timeout={"seconds": 2}, eds_cluster_config={"eds_config": {"ads": {}}})
    again = message("envoy.config.cluster.v3.Cluster").FromString(cluster.SerializeToString())
    assert again == cluster
    assert again.connect_timeout.ToTimedelta() == timedelta(seconds=2)
    with pytest.raises(ValueError, match="no_such_field"):
        pb.Cluster(no_such_field=1)


def test_nested_types_and_unknown_ones() -> None:
    assert message("envoy.config.cluster.v3.Cluster.RingHashLbConfig").DESCRIPTOR.name == "RingHashLbConfig"
    with pytest.raises(KeyError, match=r"no message type envoy\.Nothing"):
        message("envoy.Nothing")
    with pytest.raises(AttributeError, match="Nothing"):
        pb.Nothing  # noqa: B018


def test_any_packs_and_unpacks() -> None:
    packed = any_(pb.Router(suppress_envoy_headers=True))
    assert packed.type_url == type_url("Router")
    assert library().unpack(packed) == pb.Router(suppress_envoy_headers=True)


def test_dicts_and_back() -> None:
    listener = pb.Listener(name="a", listener_filters=[{"name": "tls", "typed_config": any_(pb.TlsInspector())}])
    fields = to_dict(listener)
    assert fields["listener_filters"][0]["typed_config"]["@type"] == type_url("TlsInspector")
    assert from_dict(NAMES["Listener"], fields) == listener
    with pytest.raises(ParseError, match="nmae"):
        from_dict(NAMES["Listener"], {"nmae": "a"})


def test_only_what_is_asked_for_is_loaded() -> None:
    leaf = FileDescriptorProto(name="leaf.proto", package="p", syntax="proto3", message_type=[DescriptorProto(name="Leaf")])
    broken = FileDescriptorProto(name="broken.proto", package="p", dependency=["gone.proto"], message_type=[DescriptorProto(name="Broken")])
    own = Library([leaf, broken])
    assert own.message("p.Leaf")() is not None
    with pytest.raises(KeyError):
        own.message("p.Broken")
    assert set(own.names()) == {"p.Leaf", "p.Broken"}


def test_all_short_names_are_there() -> None:
    for name, full in NAMES.items():
        assert getattr(pb, name).DESCRIPTOR.full_name == full


LOAD = """
import resource, sys, time
def memory(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
start = time.process_time()
import google.protobuf.json_format
before, between = memory(), time.process_time()
from tulle.protos import pb
from tulle.protos.names import NAMES
for name in NAMES: getattr(pb, name)()
print((time.process_time() - between) / (between - start), memory() - before)
"""


def test_the_types_in_use_cost_little_to_load() -> None:
    pb.Cluster()  # the cache is there from now on
    runs = [subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True) for _ in range(3)]
    share, size = min(tuple(map(float, run.stdout.split())) for run in runs)
    assert share < 5, "reading the cached descriptors takes about as long as loading the library"
    assert size < 25e6


def type_urls(config: dict[str, Any]) -> set[str]:
    return {url for extension in config["bootstrap"]["node"]["extensions"] for url in extension.get("type_urls", ())}


@pytest.mark.envoy
def test_every_type_that_the_proxy_says_it_knows_can_be_made(tmp_path: Path) -> None:
    with lone_envoy({}, tmp_path) as envoy:
        configs = json.loads(envoy.get("/config_dump"))["configs"]
    urls = type_urls(next(one for one in configs if one["@type"].endswith("BootstrapConfigDump")))
    assert len(urls) > 350
    assert not [url for url in urls if message(url).DESCRIPTOR.full_name != url]
