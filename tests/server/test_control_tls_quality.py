"""TLS at the control plane's own ports as testssl.sh sees it: no finding of medium or higher, but for what is meant so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.guarded import guarded
from support.testssl import findings, needs_testssl, serious

pytestmark = [pytest.mark.slow, needs_testssl]

SHORT_LIVED = {"cert_expirationStatus", "cert_notAfter", "cert_revocation"}
"""Its certificate is one of the mesh's: it is renewed within hours, so nobody is asked whether it was taken back."""
OF_GRPC = {"cipher_order"}
"""All of gRPC's cipher suites are good ones (AEAD, with forward secrecy): clients may choose."""


def test_no_finding_of_medium_or_higher_at_the_control_plane(tmp_path: Path) -> None:
    """The port of proxies asks for a certificate: nobody gets as far as a request there."""
    with guarded(tmp_path) as mesh:
        roots = tmp_path / "root.pem"
        roots.write_text(mesh.roots)

        async def both() -> None:
            handshake = ("--protocols", "--server-preference", "--server-defaults")
            found = await findings(tmp_path, "localhost", mesh.place.api, str(roots), (*handshake, "--headers", "--vulnerable"))
            assert {one["id"] for one in found} >= {"TLS1_3", "heartbleed", "ROBOT", "Content-Security-Policy"}, "it has looked"
            assert serious(found, SHORT_LIVED) == []
            found = await findings(tmp_path, "localhost", mesh.place.xds, str(roots), handshake)
            assert {one["id"] for one in found} >= {"TLS1_3", "cert_trust"}, "it has looked"
            assert serious(found, SHORT_LIVED | OF_GRPC) == []

        asyncio.run(both())
