"""`tulle secret`, and that nothing of what it was given can be seen again, wherever one looks."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from support.certificates import Ca, Pair, pieces, secret, tls_secret
from support.running import Place, running
from tulle.store.key_file import KeyFile
from tulle.store.sqlite import open_sqlite

CA = Ca("an authority")
PASSWORD = b"correct horse battery staple"


def test_a_secret_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    asyncio.run(_from_beginning_to_end(Place(folder=tmp_path)))


async def _from_beginning_to_end(place: Place) -> None:
    pair = CA.issue("shop.example.com", "*.shop.example.com", days=20)
    certificate, key = pair.write(place.folder, "shop")
    async with running(place, "control"):
        await place.until("/api/v1/version", bool)
        create = ("secret", "create", "tls", "shop", "--cert", certificate, "--key", key)
        assert await place.tulle(*create, "--ca", CA.write(place.folder)) == (0, "secret/shop created (default)\n")
        assert await place.tulle(*create, "--ca", CA.write(place.folder)) == (0, "secret/shop unchanged (default)\n")
        assert await place.tulle("secret", "create", "ca", "shop-cacert", "--ca", CA.write(place.folder)) == (
            0,
            "secret/shop-cacert created (default)\n",
        )
        assert (await place.status("secrets", "shop"))["Accepted"]["status"] == "True"
        code, said = await place.tulle("secret", "list")
        assert code == 0
        assert "shop.example.com, *.shop.example.com  in 19d" in said, said
        code, said = await place.tulle("secret", "show", "shop")
        fingerprint = pair.digest().upper()
        assert code == 0
        assert "CN=shop.example.com" in said
        assert "names    shop.example.com, *.shop.example.com" in said
        assert ":".join(fingerprint[i : i + 2] for i in range(0, 64, 2)) in said
        code, said = await place.tulle("secret", "show", "shop", "-o", "json")
        assert [c["use"] for c in json.loads(said)["certificates"]] == ["server or client", "authority"]
        other = CA.issue("else")
        assert await place.tulle("secret", "create", "tls", "shop", "--cert", certificate, "--key", other.write(place.folder, "o")[1]) == (
            1,
            'secret/shop rejected (default)\nsecret/shop:1: Secret/shop: data["tls.key"]: is not the key of the certificate beside it\n',
        )
        assert (await place.tulle("secret", "delete", "shop"))[0] == 0
        assert (await place.tulle("secret", "delete", "shop"))[0] == 1
        assert (await place.tulle("secret", "show", "shop"))[0] != 0
        code, said = await place.tulle(*create[:-1], str(place.folder / "nowhere"))
        assert (code, said) == (2, f"tulle: {place.folder / 'nowhere'}: cannot be read: No such file or directory\n")


GATEWAY = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: PORT, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: shop}}]
"""


@pytest.mark.envoy
def test_what_is_hidden_is_seen_nowhere(tmp_path: Path) -> None:
    asyncio.run(_seen_nowhere(Place(folder=tmp_path)))


async def _seen_nowhere(place: Place) -> None:
    """Every command and every path of the API that can be asked of it, the logs, and a gateway's own files."""
    old, new = CA.issue("shop.example.com"), CA.issue("shop.example.com", days=-1)
    text = tls_secret("shop", old, CA) + "---\n" + secret("more", password=PASSWORD) + GATEWAY.replace("PORT", str(place.gateway))
    copied = json.dumps({"data": {"password": base64.b64encode(PASSWORD).decode()}, "key": old.key.decode()})
    text = text.replace(
        "name: more,", f"name: more, annotations: {{kubectl.kubernetes.io/last-applied-configuration: {json.dumps(copied)}}},"
    )
    path = str(place.write("all.yaml", text))
    later = str(place.write("later.yaml", tls_secret("shop", new, CA)))
    broken = str(place.write("broken.yaml", tls_secret("shop", Pair(old.certificate, new.key)) + "  other: '%%'\n"))
    bare = str(place.write("bare.yaml", old.key.decode()))
    seen = []
    commands = (
        ("validate", "-f", path), ("validate", "-f", broken), ("validate", "-f", bare), ("apply", "-f", path, "--wait"),
        ("diff", "-f", later), ("apply", "-f", later), ("apply", "-f", broken), ("apply", "-f", bare), ("diff", "-f", broken),
        ("get", "secret", "-o", "yaml"), ("get", "secret", "shop", "-o", "json"), ("get", "secret", "-o", "wide"),
        ("get", "gw", "-o", "yaml"),
        ("secret", "list", "-o", "json"), ("secret", "show", "shop"), ("secret", "show", "more", "-o", "yaml"), ("proxies", "-o", "json"),
        ("translate", "-f", path, "--node", "gateway"), ("translate", "-f", path, "--node", "gateway", "--format", "xds"),
        ("delete", "-f", path),
    )  # fmt: skip
    async with running(place, "control") as control, running(place, "gateway") as gateway:
        await place.until("/api/v1/proxies", lambda found: found["proxies"])
        for command in commands:
            _, said = await place.tulle(*command)
            assert "Traceback" not in said, said
            seen.append(f"{command}\n{said}")
            if command[:2] in (("apply", "-f"), ("secret", "show")):
                routes = ("resources", "resources/secrets", "resources/secrets/default/shop", "resources/gateways", "proxies")
                seen += [json.dumps(await place.get(f"/api/v1/{route}")) for route in routes]
        seen += [control.log.read_text(), gateway.log.read_text()]
    diff = next(one for one in seen if one.startswith("('diff', '-f'"))
    assert "only hidden values differ" in diff
    assert "expired on" in next(one for one in seen if one.startswith(f"('apply', '-f', '{later}'"))
    everything = "\n".join(seen)
    assert [piece for piece in pieces(old.key, new.key, PASSWORD) if piece in everything] == []
    for file in (place.folder / "state").rglob("*"):
        if file.is_file():
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, f"{file} can be read by others"


def test_keys_that_no_proxy_takes_are_refused_before_one_sees_them() -> None:
    from tulle.resources.read import read

    short = CA.issue("a", key=rsa.generate_private_key(public_exponent=65537, key_size=1024))
    (found,) = read(tls_secret("a", short), "f").violations
    assert str(found).endswith('data["tls.key"]: is an RSA key of 1024 bits: proxies take 2048 or more')


def test_the_files_of_the_control_plane_have_it_for_those_with_their_key_only(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(folder=tmp_path)
        pair = CA.issue("a")
        path = str(place.write("a.yaml", tls_secret("a", pair)))
        async with running(place, "control"):
            await place.until("/api/v1/version", bool)
            assert (await place.tulle("apply", "-f", path))[0] == 0
        (database,) = (tmp_path / "state").rglob("*.db")
        async with open_sqlite(database, time.monotonic, KeyFile.of("", database)) as store:
            held = b"".join(entry.value for entry in (await store.range("documents/")).entries)
        wanted = base64.b64encode(pair.key)
        assert wanted in held
        for file in (tmp_path / "state").rglob("*"):
            assert not file.is_file() or wanted[:60] not in file.read_bytes(), file

    asyncio.run(run())
