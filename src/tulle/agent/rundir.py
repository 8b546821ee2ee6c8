"""Private directories for the files and sockets of proxies. Those that a killed agent left behind are removed by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

MAX_SOCKET_PATH = 99
"""Bytes. The kernel takes 107; some leave room for a suffix."""
_PREFIX = "p-"


def base(run_dir: str, environment: Mapping[str, str]) -> Path:
    """Where the directories of proxies lie: as set, else `$XDG_RUNTIME_DIR/tulle`, else one of this user's in the temporary directory."""
    if run_dir:
        return Path(run_dir).absolute()
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        candidate = Path(runtime) / "tulle"
        if os.access(runtime, os.W_OK) and _fits(candidate):
            return candidate
    return Path(tempfile.gettempdir()) / f"tulle-{os.getuid()}"


def _fits(directory: Path) -> bool:
    return len(os.fsencode(directory / f"{_PREFIX}12345678" / "admin.sock")) <= MAX_SOCKET_PATH


@contextlib.contextmanager
def private(parent: Path) -> Iterator[Path]:
    """A fresh directory in `parent`, mode 0700, for as long as it is needed. Raises OSError when that is not safe or not possible."""
    if not _fits(parent):
        raise OSError(f"{parent}: too long a path for Unix sockets; choose another with --run-dir")
    _prepare(parent)
    # One at a time, so that nobody sweeps away a directory whose lock is not yet held.
    with _locked(parent / "lock", wait=True):
        _sweep(parent)
        made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = _open(made / "lock")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def _prepare(parent: Path) -> None:
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = parent.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{parent}: belongs to another user or can be written by others; choose another with --run-dir")


def _sweep(parent: Path) -> None:
    """Removes what agents left that are no more: the lock of a living one is held."""
    for left in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), _locked(left / "lock", wait=False):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Raises BlockingIOError when the lock is held and there is no waiting."""
    lock = _open(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(lock)


def _open(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
