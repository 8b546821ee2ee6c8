"""Private directories, and what killed agents leave behind."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tulle.agent import rundir


def test_a_directory_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    with rundir.private(tmp_path / "run") as made:
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        assert len(os.fsencode(made / "admin.sock")) <= rundir.MAX_SOCKET_PATH
    assert not made.exists()


def test_what_a_killed_agent_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    left = tmp_path / "p-left"
    left.mkdir()
    (left / "lock").touch()
    (left / "envoy.json").write_text("{}")
    with rundir.private(tmp_path) as first, rundir.private(tmp_path) as second:
        assert not left.exists()
        assert first.exists()
        assert second.exists()


def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="can be written by others"), rundir.private(tmp_path):
        pass


def test_a_path_too_long_for_sockets_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="--run-dir"), rundir.private(tmp_path / ("x" * 100)):
        pass


def test_where_directories_lie(tmp_path: Path) -> None:
    assert rundir.base("/run/mine", {"XDG_RUNTIME_DIR": "/run/user/1"}) == Path("/run/mine")
    assert rundir.base("", {"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "tulle"
    assert rundir.base("", {"XDG_RUNTIME_DIR": str(tmp_path / "gone")}).name == f"tulle-{os.getuid()}"
    assert rundir.base("", {}).name == f"tulle-{os.getuid()}"
