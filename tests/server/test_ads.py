"""The discovery service over a real wire: who is let in, who is sent away, and what is left when it ends."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from support.eventually import eventually
from support.recorder import Recorder
from support.views import cluster, endpoints, view
from support.xds_client import Client, node_message, xds_client
from tulle.discovery import CDS, EDS
from tulle.model.proxy import Node, Role
from tulle.server.ads import Ads

NODE = Node(id="sidecar~one", role=Role.SIDECAR)


def serve(scenario: Callable[[Ads, Recorder, str], Awaitable[None]]) -> None:
    """Runs a scenario against a server on a free port."""

    async def run() -> None:
        recorder = Recorder(view(cluster("a"), endpoints("a", 1)))
        ads = Ads(recorder, storm=2)
        async with ads.serving(["127.0.0.1:0"], grace=0) as (port,):
            await scenario(ads, recorder, f"127.0.0.1:{port}")

    asyncio.run(run())


async def begin(client: Client, node: Node = NODE) -> None:
    """Subscribes to clusters and acknowledges them."""
    await client.send(type_url=CDS, node=node_message(node))
    response = await client.receive()
    assert [r.name for r in response.resources] == ["a"]
    await client.send(type_url=CDS, response_nonce=response.nonce)


def test_a_proxy_is_known_while_its_stream_lasts() -> None:
    async def scenario(ads: Ads, recorder: Recorder, address: str) -> None:
        async with xds_client(address) as client:
            await begin(client)
            assert recorder.nodes == {NODE.id: NODE}
            assert ads.version(NODE.id) == "test 1.2"
            await recorder.until(lambda: recorder.took(CDS))
            assert ads.settled(NODE.id)
            counted = ads.counters
            assert (counted.streams, counted.connected, counted.pushes, counted.acks, counted.nacks) == (1, 1, 1, 1, 0)
        await recorder.until(lambda: not recorder.nodes)
        assert counted.streams == 0
        assert ads.version(NODE.id) == ""
        ads.offer(NODE.id, recorder.snapshot)

    serve(scenario)


def test_a_proxy_that_says_nothing_sensible_is_turned_away() -> None:
    async def scenario(ads: Ads, recorder: Recorder, address: str) -> None:
        for fields, why in (
            ({}, "the first request of a stream must bear the node"),
            ({"node": {"id": ""}}, "node.id: is empty"),
            ({"node": {"id": "x"}}, "node.metadata.tulle: is missing"),
        ):
            async with xds_client(address) as client:
                await client.send(type_url=CDS, **fields)
                code, details = await client.ending()
                assert code is grpc.StatusCode.INVALID_ARGUMENT
                assert why in details
        assert ads.counters.refused == 3
        assert not recorder.nodes

    serve(scenario)


def test_rubbish_in_the_middle_of_a_stream_ends_it() -> None:
    async def scenario(ads: Ads, recorder: Recorder, address: str) -> None:
        async with xds_client(address) as client:
            await begin(client)
            await client.call.write(b"\xff\xff\xff")
            code, details = await client.ending()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert "not a discovery request" in details
        async with xds_client(address) as client:
            await begin(client)
            await client.send(type_url=CDS, node=node_message(Node(id="other", role=Role.GATEWAY)))
            code, details = await client.ending()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert "opened by 'sidecar~one', not by 'other'" in details
        await recorder.until(lambda: not recorder.nodes)

    serve(scenario)


def test_another_proxy_of_the_same_name_is_turned_away_while_the_first_is_there() -> None:
    async def scenario(ads: Ads, recorder: Recorder, address: str) -> None:
        twin = replace(NODE, instance="another run of an agent")
        async with xds_client(address) as first, xds_client(address) as second:
            await begin(first)
            await second.send(type_url=CDS, node=node_message(twin))
            code, details = await second.ending()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert "'sidecar~one' is connected already" in details
            assert recorder.nodes == {NODE.id: NODE}
        await recorder.until(lambda: not recorder.nodes)
        async with xds_client(address) as second:
            await second.send(type_url=CDS, node=node_message(twin))
            await second.receive()
            assert recorder.nodes == {NODE.id: twin}

    serve(scenario)


def test_the_newest_stream_of_a_node_wins() -> None:
    async def scenario(ads: Ads, recorder: Recorder, address: str) -> None:
        async with xds_client(address) as old, xds_client(address) as new:
            await begin(old)
            await begin(new)
            code, details = await old.ending()
            assert code is grpc.StatusCode.ABORTED
            assert "another proxy has connected as 'sidecar~one'" in details
            assert ads.counters.superseded == 1
            assert recorder.nodes == {NODE.id: NODE}
            recorder.offer(ads, view(cluster("b"), cluster("a"), endpoints("a", 1), endpoints("b", 1)))
            assert [r.name for r in (await new.receive()).resources] == ["b"]

    serve(scenario)


def test_the_latest_offer_counts_in_both_protocols() -> None:
    async def scenario(ads: Ads, recorder: Recorder, address: str) -> None:
        async with xds_client(address, delta=False) as client:
            await client.send(type_url=CDS, node=node_message(NODE))
            first = await client.receive()
            assert len(first.resources) == 1
            for count in range(2, 9):
                names = [f"c{n}" for n in range(count)]
                recorder.offer(ads, view(*(cluster(n) for n in names), *(endpoints(n, 1) for n in names)))
            await client.send(type_url=CDS, response_nonce=first.nonce, version_info=first.version_info)
            # The cluster that went stays until the client has listeners that do not need it.
            assert len((await client.receive()).resources) == 9
            assert ads.counters.pushes == 2

    serve(scenario)


def test_many_that_come_at_once_are_all_served() -> None:
    async def scenario(ads: Ads, recorder: Recorder, address: str) -> None:
        async def one(number: int) -> None:
            async with xds_client(address) as client:
                await begin(client, Node(id=f"sidecar~{number}", role=Role.SIDECAR))
                await client.send(type_url=EDS, resource_names_subscribe=["a"])
                assert (await client.receive()).resources[0].name == "a"

        await asyncio.gather(*(one(number) for number in range(40)))
        await eventually(lambda: ads.counters.streams == 0)
        assert ads.counters.connected == 40

    serve(scenario)


def test_a_unix_socket_is_for_this_user_only_and_ends_with_the_service(tmp_path: Path) -> None:
    path = tmp_path / "xds.sock"

    async def run() -> None:
        recorder = Recorder(view(cluster("a"), endpoints("a", 1)))
        ads = Ads(recorder)
        async with xds_client(f"unix:{path}") as client:
            async with ads.serving([f"unix:{path}"], grace=5):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                await begin(client)
            code, details = await client.ending()
            assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "the control plane is stopping")
        assert not recorder.nodes

    asyncio.run(run())


def test_an_address_that_cannot_be_had_is_named() -> None:
    async def run(port: int) -> None:
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port} for proxies"):
            await Ads(Recorder(view())).start([f"127.0.0.1:{port}"])

    with socket.create_server(("127.0.0.1", 0)) as taken:
        asyncio.run(run(taken.getsockname()[1]))
