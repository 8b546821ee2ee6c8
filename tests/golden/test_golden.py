"""From the YAML of users to the messages of Envoy. Each folder beside this file is a case: see `support.golden`.

`pytest tests/golden --update-golden` writes what is expected; look at the difference before it is committed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support.certificates import Ca
from support.golden import Case
from support.lone_envoy import validate
from tulle.model.mesh import Inputs
from tulle.translate.static import static_config

FOLDERS = sorted(path.parent for path in Path(__file__).parent.glob("*/in.yaml"))
INPUTS = {"in.yaml", "registrations.yaml", "nodes.yaml", "settings.yaml"}

each_case = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def there(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {name: path.read_text() for path in files if (name := path.relative_to(folder).as_posix()) not in INPUTS}


def write(folder: Path, expected: dict[str, str]) -> None:
    for name in there(folder).keys() - expected.keys():
        (folder / name).unlink()
    for name, text in expected.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


@each_case
def test_golden(folder: Path, request: pytest.FixtureRequest) -> None:
    made = Case(folder).expected()
    if request.config.getoption("--update-golden"):
        write(folder, made)
    found = there(folder)
    assert made.keys() == found.keys(), "a file too many or too few: what is empty has no file"
    for name, text in made.items():
        assert text == found[name], name


@each_case
def test_every_name_resolves(folder: Path) -> None:
    assert {name: snapshot.problems() for name, snapshot in Case(folder).snapshots().items() if snapshot.problems()} == {}


@each_case
def test_the_order_of_what_is_given_does_not_matter(folder: Path) -> None:
    case = Case(folder)
    straight = {name: snapshot.versions() for name, snapshot in case.snapshots().items()}
    case.inputs = Inputs(
        resources=dict(reversed(case.inputs.resources.items())),
        registrations=dict(reversed(case.inputs.registrations.items())),
        settings=case.inputs.settings,
    )
    assert {name: snapshot.versions() for name, snapshot in case.snapshots().items()} == straight


@pytest.mark.envoy
@each_case
def test_envoy_accepts(folder: Path, tmp_path: Path) -> None:
    case = Case(folder)
    roots = Ca().write(tmp_path)
    for name, snapshot in case.snapshots().items():
        assert validate(static_config(snapshot, case.nodes[name], roots), tmp_path) == "", name
