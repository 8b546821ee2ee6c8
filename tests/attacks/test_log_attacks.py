"""Text of others that would look like something else: another line of the log, another row of a table, a command to the terminal."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api, running_api
from tulle.cli.output import err, harmless, out, table
from tulle.logs import Json, Text

PROGRAM = str(Path(sys.executable).with_name("tulle"))
FORGED = "\n2026-01-01T00:00:00.000Z info control: all is well"
EVIL = {
    "line feed": f"web{FORGED}",
    "carriage return": "web\rforged",
    "line separator": f"web\u2028{FORGED.strip()}",
    "next line": "web\x85forged",
    "clear the screen": "web\x1b[2J\x1b[H",
    "title of the window": "web\x1b]0;forged\x07",
    "answer to the shell": "web\x1b[6n\x9b5n",
    "backspaces": "web\x08\x08\x08bank",
    "another field": 'web error="" level=debug',
    "quotes": "web\" error='x",
    "right to left": "web\u202eknab",
    "nothing to be seen": "we\u200bb\ufeff",
    "NUL": "web\0forged",
}
DANGEROUS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def record(event: str, value: str, error: str = "") -> logging.LogRecord:
    info = (ValueError, ValueError(error), None) if error else None
    found = logging.LogRecord("tulle.control", logging.WARNING, "", 0, event, None, info)
    found.fields = {"service": value, "document": "a.yaml:1"}
    return found


@pytest.mark.parametrize("value", EVIL.values(), ids=EVIL)
def test_a_value_is_no_line_and_no_field_of_the_log(value: str) -> None:
    for form in (Text(), Json()):
        line = form.format(record("a service was registered", value))
        assert not DANGEROUS.search(line)
        assert "\n" not in line
    assert json.loads(line)["service"] == value
    written = Text().format(record("a service was registered", value))
    assert re.fullmatch(r'\S+ warning control: a service was registered service="(?:[^"\\]|\\.)*" document=a.yaml:1', written)


@pytest.mark.parametrize("value", EVIL.values(), ids=EVIL)
def test_an_event_is_one_line_and_so_is_each_of_its_traceback(value: str) -> None:
    assert "\n" not in Text().format(record(value, "x"))
    first, *others = Text().format(record("it failed", "x", error=value)).split("\n")
    assert first.endswith("service=x document=a.yaml:1")
    assert others
    assert all(line.startswith("    ") and not DANGEROUS.search(line) for line in others)


@pytest.mark.parametrize("value", EVIL.values(), ids=EVIL)
def test_a_cell_is_no_row_and_no_command(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    table(("NAME", "OUTPUT"), [("web", value), (value, "fine")])
    shown = capsys.readouterr().out
    assert not DANGEROUS.search(shown)
    assert len(shown.splitlines()) == 3


@pytest.mark.parametrize("value", EVIL.values(), ids=EVIL)
def test_what_is_said_is_no_command(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    out(f"said: {value}")
    err(f"said: {value}")
    shown = capsys.readouterr()
    assert not DANGEROUS.search((shown.out + shown.err).replace("\t", ""))
    assert json.loads(harmless(json.dumps({"a": value}, ensure_ascii=False))) == {"a": value}, "JSON stays what it is"


@pytest.fixture(scope="module", name="api")
def _api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("api")) as running:
        yield running


def ran(*words: str, cwd: Path, server: str = "http://127.0.0.1:1") -> str:
    done = subprocess.run([PROGRAM, *words], capture_output=True, cwd=cwd, env={**os.environ, "TULLE_SERVER": server}, timeout=60)
    return (done.stdout + done.stderr).decode()


def test_the_name_of_a_file_is_no_command(tmp_path: Path, api: Api) -> None:
    name = "a\x1b[2J\x9b\u202e.yaml"
    (tmp_path / name).write_text("apiVersion: v1\nkind: Nothing\x7f\nmetadata: {name: a}\n")
    for words in (("validate",), ("apply",), ("diff",)):
        shown = ran(*words, "-f", name, cwd=tmp_path, server=api.url)
        assert "\\u001b[2J" in shown
        assert not DANGEROUS.search(shown)


def test_what_a_document_says_is_no_command(tmp_path: Path, api: Api) -> None:
    (tmp_path / "a.yaml").write_text(
        'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {said: "\\e[2J\\u202e"}}\ndata: {a: "\\e]0;x\\a", "\\e[1m": b}\n'
    )
    for words in (("validate", "-f", "a.yaml"), ("diff", "-f", "a.yaml"), ("apply", "-f", "a.yaml"), ("get", "cm", "a", "-o", "json")):
        assert not DANGEROUS.search(ran(*words, cwd=tmp_path, server=api.url)), words


def test_what_a_request_asks_for_is_no_line_of_an_answer(api: Api) -> None:
    status, told = api.request("GET", "/api/v1/%0d%0aforged%1b%5b2J")
    assert status == 404
    assert set(told) == {"error", "violations"}
    status, told = api.apply('apiVersion: v1\nkind: "a\\nb\\e[2J"\nmetadata: {name: a}\n', "x\nforged")
    assert status == 422
    assert told["violations"][0]["path"] == "x\nforged", "JSON tells it as it is"
