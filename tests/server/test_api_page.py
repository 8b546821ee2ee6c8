"""The page about the HTTP API names every route there is, and no other; its examples are taken by the API."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from support.api import QuietMesh, running_api
from tulle.registry import form
from tulle.server.access.api import TokensApi
from tulle.server.access.join import JoinApi
from tulle.server.acme.api import CertificatesApi
from tulle.server.agents_api import AgentsApi
from tulle.server.checks_api import ChecksApi
from tulle.server.documents_api import DocumentsApi
from tulle.server.forms import ApplyForm
from tulle.server.identity_api import IdentityApi
from tulle.server.live_api import LiveApi
from tulle.server.registry_api import RegistryApi
from tulle.server.trust_api import TrustApi
from tulle.server.well_known import WellKnown

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


def test_the_page_lists_the_routes() -> None:
    unused: Any = None
    mesh = QuietMesh()
    apis = (
        DocumentsApi(unused, mesh),
        RegistryApi(unused, mesh),
        LiveApi(mesh),
        ChecksApi(unused),
        AgentsApi(unused, unused),
        TrustApi(unused, unused),
        CertificatesApi(unused),
        TokensApi(unused, unused),
        JoinApi(unused, unused),
        IdentityApi(unused),
        WellKnown(unused, unused),
    )
    routes: list[Route] = [route for api in apis for route in api.routes()]
    found = {(method, route.path.replace(":path", "")) for route in routes for method in route.methods or () if method != "HEAD"}
    assert set(re.findall(r"^\| `([A-Z]+) (\S+)` \|", PAGE, re.MULTILINE)) == found


def test_the_examples_of_requests_can_be_sent() -> None:
    assert ApplyForm.model_validate(EXAMPLES[0]).wait == "30s"
    assert form.parse("reviews-1", json.dumps(EXAMPLES[-1]).encode()).service == "reviews"
    assert {"id": "reviews-1", **EXAMPLES[-1]} == form.to_json(form.parse("reviews-1", json.dumps(EXAMPLES[-1]).encode()))


def test_the_examples_of_answers_have_the_fields_of_answers(tmp_path: Path) -> None:
    _, report, violation, document, _ = EXAMPLES
    with running_api(tmp_path) as api:
        text = json.dumps({key: value for key, value in document.items() if key != "status"})
        real = api.apply(text, wait="1s")[1]
        assert (real.keys(), real["results"][0].keys()) == (report.keys(), report["results"][0].keys())
        assert real["acknowledged"].keys() == report["acknowledged"].keys()
        shown = api.request("GET", "/api/v1/resources/vs/default/reviews")[1]
        assert (shown.keys(), shown["metadata"].keys(), shown["status"].keys()) == (
            document.keys(),
            document["metadata"].keys(),
            document["status"].keys(),
        )
        assert [c.keys() for c in shown["status"]["conditions"]] == [c.keys() for c in document["status"]["conditions"]]
        assert api.apply("a: [")[1]["violations"][0].keys() == violation.keys()


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 413, 422, 500, 503])
def test_every_status_is_explained(status: int) -> None:
    assert re.search(rf"^\| (\d+, )?{status}\b", PAGE, re.MULTILINE)
