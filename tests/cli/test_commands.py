"""The real `tulle` program, against a real API: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.api import Api, running_api
from support.documents import BAD, destination_rule, together, virtual_service
from support.processor import little, processor_time

PROGRAM = str(Path(sys.executable).with_name("tulle"))


@dataclass
class Ended:
    code: int
    out: str
    err: str


def tulle(*words: str, server: str = "", stdin: str = "", cwd: Path | None = None, **environment: str) -> Ended:
    variables = {**os.environ, "TULLE_SERVER": server or "http://127.0.0.1:1", "COLUMNS": "120", **environment}
    done = subprocess.run([PROGRAM, *words], input=stdin, capture_output=True, text=True, env=variables, cwd=cwd, timeout=60)
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path / "state") as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """reviews.yaml (two good documents), bad.yaml, and a folder tree."""
    (tmp_path / "reviews.yaml").write_text(together(virtual_service(), destination_rule()))
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / ".hidden").mkdir()
    (tmp_path / "tree" / "b.yml").write_text(virtual_service("b"))
    (tmp_path / "tree" / "deep" / "a.yaml").write_text(virtual_service("a"))
    (tmp_path / "tree" / "c.json").write_text(json.dumps(yaml.safe_load(virtual_service("c"))))
    (tmp_path / "tree" / "notes.txt").write_text("not a document")
    (tmp_path / "tree" / ".hidden" / "d.yaml").write_text(virtual_service("d"))
    return tmp_path


# === apply


def test_apply_says_what_became_of_each_document(api: Api, folder: Path) -> None:
    done = tulle("apply", "-f", "reviews.yaml", server=api.url, cwd=folder)
    assert (done.code, done.err) == (0, "")
    assert done.out == "virtualservice/reviews created (default)\ndestinationrule/reviews created (default)\n"
    (folder / "reviews.yaml").write_text(together(virtual_service(timeout="6s"), destination_rule()))
    done = tulle("apply", "-f", "reviews.yaml", server=api.url, cwd=folder)
    assert done.out == "virtualservice/reviews configured (default)\ndestinationrule/reviews unchanged (default)\n"


def test_apply_takes_the_good_and_tells_the_bad(api: Api, folder: Path) -> None:
    done = tulle("apply", "-f", "bad.yaml", "-f", "tree", server=api.url, cwd=folder)
    assert done.code == 1
    assert done.out.splitlines() == [
        "virtualservice/reviews rejected (default)",
        "virtualservice/b created (default)",
        "virtualservice/c created (default)",
        "virtualservice/a created (default)",
    ]
    assert done.err.startswith("bad.yaml:8: VirtualService/reviews: spec.http[0].timeout: must be a duration")


def test_apply_reads_folders_files_and_standard_input(api: Api, folder: Path) -> None:
    done = tulle("apply", "-f", "reviews.yaml", "tree/b.yml", "tree/c.json", "-", stdin=virtual_service("x"), server=api.url, cwd=folder)
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "virtualservice/reviews",
        "destinationrule/reviews",
        "virtualservice/b",
        "virtualservice/c",
        "virtualservice/x",
    ]
    done = tulle("apply", "-f", "-", stdin="kind: x", server=api.url)
    assert (done.code, done.err) == (1, "<stdin>:1: x: apiVersion: required, as text\n")


def test_warnings_go_to_standard_error(api: Api, folder: Path) -> None:
    text = destination_rule() + "  trafficPolicy:\n    outlierDetection: {consecutiveErrors: 5}\n"
    done = tulle("apply", "-f", "-", stdin=text, server=api.url)
    assert (done.code, done.out) == (0, "destinationrule/reviews created (default)\n")
    assert done.err.startswith("warning: <stdin>:10: DestinationRule/reviews: spec.trafficPolicy.outlierDetection.consecutiveErrors: ")


def test_dry_run_changes_nothing(api: Api, folder: Path) -> None:
    done = tulle("apply", "-f", "reviews.yaml", "--dry-run", server=api.url, cwd=folder)
    assert done.out.splitlines()[0] == "virtualservice/reviews created (default) (dry run)"
    assert api.request("GET", "/api/v1/resources") == (200, {"items": []})


def test_wait_tells_how_many_proxies_have_it(api: Api, folder: Path) -> None:
    done = tulle("apply", "-f", "reviews.yaml", "--wait", "--timeout", "9s", server=api.url, cwd=folder)
    assert done.out.splitlines()[-1] == "1 of 1 proxies have acknowledged"
    assert api.mesh.waited[0][1] == 9.0


# === no control plane, wrong arguments


@pytest.mark.parametrize(
    "words", [("apply", "-f", "reviews.yaml"), ("get", "vs"), ("services",), ("proxies",), ("endpoints",), ("delete", "vs", "a")]
)
def test_without_a_control_plane_it_says_how_to_start_one(folder: Path, words: tuple[str, ...]) -> None:
    done = tulle(*words, cwd=folder)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("tulle: no control plane answers at http://127.0.0.1:1 (Connection refused).\nStart one with `tulle up`")


def test_something_else_that_answers_is_no_control_plane() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def talk() -> None:
            connection, _ = other.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
            connection.close()

        thread = threading.Thread(target=talk)
        thread.start()
        done = tulle("get", "vs", server=f"http://127.0.0.1:{other.getsockname()[1]}")
        thread.join()
    assert done.code == 2
    assert "is no control plane of Tulle (status 200)" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("apply",), "no files given: name them with -f PATH"),
        (("apply", "-f", "none.yaml"), "none.yaml: No such file or directory"),
        (("validate", "-f", "tree/.hidden/../../empty"), "no file in this folder ends in .yaml, .yml or .json"),
        (("apply", "-f", "latin.yaml"), "latin.yaml:2: is not UTF-8 text"),
        (("delete",), "say what to delete: -f PATH, or KIND NAME"),
        (("delete", "vs", "a/b"), "write KIND NAME... or a single KIND/NAME"),
        (("get", "vs", "--server", "ftp://x"), "'ftp://x' is not an address"),
        (("get", "vs", "-o", "xml"), "xml"),
        (("frobnicate",), "No such command 'frobnicate'"),
        (("aply",), "Did you mean 'apply'"),
    ],
)
def test_unusable_arguments_end_with_2(folder: Path, words: tuple[str, ...], message: str) -> None:
    (folder / "empty").mkdir()
    (folder / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    done = tulle(*words, cwd=folder)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_an_unknown_kind_is_told_with_those_there_are(api: Api) -> None:
    done = tulle("get", "pods", server=api.url)
    assert (done.code, done.err.startswith("tulle: there is no kind 'pods'; kinds are VirtualService, DestinationRule")) == (2, True)


# === get


def test_get_as_a_table(api: Api, folder: Path) -> None:
    api.apply(together(virtual_service(), virtual_service("other", host="ratings", namespace="shop"), destination_rule()))
    api.apply(BAD)
    assert tulle("get", "vs", server=api.url).out.splitlines() == [
        "NAME     FOR      ACCEPTED  PROGRAMMED  WARNINGS",
        "reviews  reviews  False     True        0",
    ]
    everywhere = tulle("get", "all", "-A", server=api.url).out.splitlines()
    assert [line.split()[:3] for line in everywhere] == [
        ["NAMESPACE", "KIND", "NAME"],
        ["default", "DestinationRule", "reviews"],
        ["default", "VirtualService", "reviews"],
        ["shop", "VirtualService", "other"],
    ]
    wide = tulle("get", "virtualservices", "-o", "wide", server=api.url).out
    assert "test.yaml:1" in wide
    assert "test.yaml:8: VirtualService/reviews: spec.http[0].timeout" in wide
    nothing = tulle("get", "gw", server=api.url)
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "nothing found in namespace default; -A looks in all\n")


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_get_as_a_document(api: Api, form: str) -> None:
    api.apply(virtual_service())
    read: Any = yaml.safe_load if form == "yaml" else json.loads
    one = read(tulle("get", "vs", "reviews", "-o", form, server=api.url).out)
    assert one["spec"] == yaml.safe_load(virtual_service())["spec"]
    assert [(c["type"], c["status"]) for c in one["status"]["conditions"]] == [("Accepted", "True"), ("Programmed", "True")]
    assert one["status"]["conditions"][1]["message"] == "1 of 1 proxies have acknowledged"
    assert read(tulle("get", "vs/reviews", "-o", form, server=api.url).out) == one
    assert read(tulle("get", "vs", "-o", form, server=api.url).out) == {"apiVersion": "v1", "kind": "List", "items": [one]}


def test_get_then_edit_then_apply(api: Api) -> None:
    api.apply(virtual_service())
    text = tulle("get", "vs", "reviews", "-o", "yaml", server=api.url).out
    done = tulle("apply", "-f", "-", stdin=text.replace("timeout: 5s", "timeout: 7s"), server=api.url)
    assert (done.code, done.out) == (0, "virtualservice/reviews configured (default)\n")


def test_get_of_what_is_not_there(api: Api) -> None:
    done = tulle("get", "vs", "nobody", server=api.url)
    assert (done.code, done.err) == (1, "tulle: there is no vs called nobody in namespace default\n")


# === delete, diff, validate


def test_delete_by_file_and_by_name(api: Api, folder: Path) -> None:
    api.apply(together(virtual_service(), destination_rule(), virtual_service(namespace="shop")))
    done = tulle("delete", "-f", "reviews.yaml", server=api.url, cwd=folder)
    assert (done.code, done.out) == (0, "virtualservice/reviews deleted (default)\ndestinationrule/reviews deleted (default)\n")
    again = tulle("delete", "-f", "reviews.yaml", server=api.url, cwd=folder)
    assert (again.code, again.out.splitlines()[0]) == (1, "virtualservice/reviews not found (default)")
    assert tulle("delete", "-f", "reviews.yaml", "--ignore-not-found", server=api.url, cwd=folder).code == 0
    done = tulle("delete", "vs/reviews", "-n", "shop", server=api.url)
    assert (done.code, done.out) == (0, "virtualservice/reviews deleted (shop)\n")


def test_diff_ends_with_1_when_something_would_change(api: Api, folder: Path) -> None:
    api.apply(together(virtual_service(), destination_rule()), path="reviews.yaml")
    same = tulle("diff", "-f", "reviews.yaml", server=api.url, cwd=folder)
    assert (same.code, same.out, same.err) == (0, "", "")
    other = tulle("diff", "-f", "-", stdin=virtual_service(timeout="6s"), server=api.url)
    assert other.code == 1
    assert other.out.splitlines()[:2] == [
        "--- VirtualService/default/reviews (in the store)",
        "+++ VirtualService/default/reviews (<stdin>:1)",
    ]
    assert "\x1b" not in other.out
    assert tulle("diff", "-f", "bad.yaml", server=api.url, cwd=folder).code == 1


def test_validate_is_offline_and_prints_one_line_for_each_violation(folder: Path) -> None:
    good = tulle("validate", "-f", "reviews.yaml", "tree", cwd=folder)
    assert (good.code, good.out) == (0, "")
    (folder / "bad.yaml").write_text(together(BAD, "kind: Thing\napiVersion: v1\n", virtual_service().replace("hosts:", "host:")))
    bad = tulle("validate", "-f", "bad.yaml", cwd=folder)
    assert bad.code == 1
    assert all(re.match(r"bad\.yaml:\d+: \w+(/\w+)?: [\w.\[\]]+: .+$", line) for line in bad.out.splitlines()), bad.out
    assert [int(line.split(":")[1]) for line in bad.out.splitlines()][:2] == [8, 12]
    assert 'unknown field "host"; did you mean "hosts"?' in bad.out


def test_validate_as_json(folder: Path) -> None:
    done = tulle("validate", "-f", "bad.yaml", "--format", "json", cwd=folder)
    found = json.loads(done.out)
    assert (done.code, found["good"], len(found["violations"])) == (1, 0, 1)
    assert found["violations"][0]["field"] == "spec.http[0].timeout"


# === looking at the mesh


def test_services_endpoints_proxies(api: Api) -> None:
    assert tulle("services", server=api.url).out.splitlines() == [
        "SERVICE                            PORTS      HEALTHY",
        "reviews.default.svc.cluster.local  9080/HTTP  1/1",
    ]
    assert tulle("endpoints", "reviews", server=api.url).out.splitlines()[1].split()[1:] == [
        "9080",
        "127.0.0.1:4711",
        "passing",
        "no",
        "reviews-1",
    ]
    assert tulle("endpoints", server=api.url).code == 0
    unknown = tulle("endpoints", "nobody", server=api.url)
    assert (unknown.code, unknown.err.startswith("tulle: the mesh knows no service 'nobody'")) == (1, True)
    assert tulle("proxies", server=api.url).out.splitlines()[1].split()[:4] == ["sidecar~a", "sidecar", "default", "yes"]
    assert json.loads(tulle("proxies", "-o", "json", server=api.url).out)[0]["id"] == "sidecar~a"
    assert "cluster=abc" in tulle("proxies", "-o", "wide", server=api.url).out
    assert json.loads(tulle("services", "-o", "json", "-n", "none", server=api.url).out) == []


def test_version(api: Api) -> None:
    with_server = tulle("version", server=api.url)
    assert with_server.code == 0
    assert re.fullmatch(r"tulle +\S+\ncontrol plane +\d\S+\nenvoy +1\.40\.0\n", with_server.out)
    without = json.loads(tulle("version", "-o", "json").out)
    assert without["controlPlane"] == ""


# === the program itself


def test_help_is_fast_and_loads_no_command() -> None:
    done = tulle("--help")
    assert done.code == 0
    assert all(name in done.out for name in ("demo", "up", "run", "apply", "get", "explain", "completion"))
    assert processor_time(PROGRAM, "--help") < 10 * little(), "it is about three times as much"
    code = "import sys; sys.argv=['tulle','--help']; from tulle.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print([m for m in sys.modules if m.split('.')[0] in ('yaml','pydantic','grpc','starlette','rich','asyncio','google')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.splitlines()[-1]
    assert loaded == "[]"


@pytest.mark.parametrize(
    "command", ["apply", "delete", "get", "diff", "validate", "services", "endpoints", "proxies", "version", "completion"]
)
def test_every_command_has_a_help_with_examples(command: str) -> None:
    done = tulle(command, "-h")
    assert done.code == 0
    assert (
        f"Examples:\n    tulle {command}" in done.out or f"(tulle {command}" in done.out or f"cat rule.yaml | tulle {command}" in done.out
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    done = tulle("completion", shell)
    assert (done.code, "_TULLE_COMPLETE" in done.out) == (0, True)


def test_bash_completes_commands_and_options() -> None:
    commands = tulle(_TULLE_COMPLETE="complete_bash", COMP_WORDS="tulle app", COMP_CWORD="1")
    assert commands.out.split() == ["apply"]
    options = tulle(_TULLE_COMPLETE="complete_bash", COMP_WORDS="tulle apply --dr", COMP_CWORD="2")
    assert options.out.split() == ["--dry-run"]
