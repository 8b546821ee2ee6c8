"""A shell for one page: its blocks share it, in a directory and a home of their own. Whatever they start ends with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.pages import Block, Command, matches

PATIENCE = 180.0
"""Seconds that one command, or a background one until it is ready, may take."""
_MARK = "\x1e:status:"


class PageError(AssertionError):
    """The page does not do what it says."""


@dataclass(slots=True)
class Background:
    """A command in a terminal of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass(slots=True)
class Shell:
    """Runs the blocks of one page, in order."""

    folder: Path
    environment: dict[str, str]
    _bash: subprocess.Popen[bytes]
    patience: float = 30.0
    """Seconds that what blocks started gets to end with the shell."""
    _background: list[Background] = field(default_factory=list)

    def run(self, block: Block) -> None:
        """Runs a block. Raises PageError with the line, the command and its output when it does not do what the page says."""
        if name := block.directives.get("file"):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        if not block.is_shell or "run by CI" in block.directives:
            return
        commands = block.commands()
        if "background" in block.directives:
            for command in commands:
                self._start(command)
            return
        for index, command in enumerate(commands):
            last = index == len(commands) - 1
            self._type(command, int(block.directives.get("exit", 0)) if last else 0, strict=block.language != "console")

    def _type(self, command: Command, expected_status: int, *, strict: bool) -> None:
        script = f"{'set -e' if strict else 'set +e'}\n{{\n{command.text}\n}} </dev/null 2>&1\nprintf '{_MARK}%s\\n' $?\nset +e\n"
        stdin = self._bash.stdin
        assert stdin is not None
        stdin.write(script.encode())
        stdin.flush()
        output, status = self._read(command)
        if status != expected_status:
            raise PageError(self._complaint(command, f"ended with status {status}, not {expected_status}", output))
        if command.output is not None and not matches(command.output, output):
            raise PageError(self._complaint(command, f"should print:\n{command.output}", output))

    def _read(self, command: Command) -> tuple[str, int]:
        stdout = self._bash.stdout
        assert stdout is not None
        received = b""
        deadline = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(deadline - time.monotonic()):
                    raise PageError(self._complaint(command, f"did not end within {PATIENCE:g} s", received.decode(errors="replace")))
                part = os.read(stdout.fileno(), 65536)
                received += part
                text = received.decode(errors="replace")
                before, mark, after = text.partition(_MARK)
                if mark and after.endswith("\n"):
                    return before, int(after)
                if not part:
                    raise PageError(self._complaint(command, f"failed: the shell ended with status {self._bash.wait()}", text))

    def _start(self, command: Command) -> None:
        log = self.folder.parent / f"terminal-{len(self._background) + 1}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command.text}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        terminal = Background(process=process, log=log)
        self._background.append(terminal)
        deadline = time.monotonic() + PATIENCE
        while not matches(command.output or "...", terminal.text(), so_far=True):
            if process.poll() is not None or time.monotonic() > deadline:
                state = f"status {process.returncode}" if process.poll() is not None else "still running"
                raise PageError(self._complaint(command, f"({state}) should print:\n{command.output}", terminal.text()))
            time.sleep(0.05)  # there is no event for a line in a file

    def _complaint(self, command: Command, what: str, output: str) -> str:
        logs = "".join(f"\n--- {b.log.name}, its end:\n{b.text()[-3000:]}" for b in self._background)
        return f"line {command.line}: {command.text}\n--- {what}\n--- it printed:\n{output}{logs}"

    def close(self) -> list[str]:
        """Ends everything as a person would, with Ctrl-C; returns what did not go well."""
        ended = [(terminal, interrupt(terminal.process)) for terminal in reversed(self._background)]
        troubles = [
            f"{terminal.process.args} ended with {status} after Ctrl-C:\n{terminal.text()[-3000:]}"
            for terminal, status in ended
            if status not in (0, 130, -signal.SIGINT)
        ]
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.close()
        self._bash.stdout.close()
        self._bash.wait(60)
        for pid, name in leftovers(self.environment["HOME"], self.patience):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            troubles.append(f"left behind: {name} (process {pid})")
        return troubles


def interrupt(process: subprocess.Popen[bytes], patience: float = 40.0) -> int:
    """Ctrl-C; after `patience` seconds there is no more asking."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def leftovers(home: str, patience: float = 30.0) -> list[tuple[int, str]]:
    """Processes that run with this home even after a while: none that are just ending."""
    deadline = time.monotonic() + patience
    while (left := _at_home(home)) and time.monotonic() < deadline:
        time.sleep(0.1)  # there is no event for the end of what others started
    return left


def _at_home(home: str) -> list[tuple[int, str]]:
    found = []
    needle = f"HOME={home}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if needle in (folder / "environ").read_bytes().split(b"\0"):
                found.append((int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")))
        except OSError:
            continue  # it has just ended, or is not ours
    return [(pid, name) for pid, name in found if name]


def busy(ports: tuple[int, ...]) -> list[int]:
    """Which of the ports on loopback are taken."""
    taken = []
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(port)
    return taken


@contextmanager
def alone(ports: tuple[int, ...]) -> Iterator[None]:
    """Holds off all other tests that need fixed ports, those of other runs too. Fails when a port is taken all the same."""
    with (Path(tempfile.gettempdir()) / "tulle-tests-ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert busy_still(ports) == [], "taken by another program"
        yield


def busy_still(ports: tuple[int, ...], patience: float = 30.0) -> list[int]:
    """Which of the ports are taken even after a while: another program's, not those of something that is just ending."""
    deadline = time.monotonic() + patience
    while (taken := busy(ports)) and time.monotonic() < deadline:
        time.sleep(0.1)  # there is no event for a port that becomes free
    return taken


@contextmanager
def shell(folder: Path, patience: float = 30.0) -> Iterator[Shell]:
    """A shell in `folder/page`, at home in `folder/home`, with this installation's programs first on the path."""
    page, home = folder / "page", folder / "home"
    page.mkdir(parents=True)
    home.mkdir()
    (page / ".venv").symlink_to(sys.prefix)  # as it is beside the README
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TULLE_", "XDG_", "PYTEST_")) and not k.lower().endswith("_proxy")}
    environment = {
        **kept,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TERM": "dumb",
        "COLUMNS": "140",
    }
    bash = subprocess.Popen(
        ["bash", "--noprofile", "--norc"],
        cwd=page,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    session = Shell(folder=page, environment=environment, _bash=bash, patience=patience)
    try:
        yield session
    except BaseException:
        session.close()
        raise
    if troubles := session.close():
        raise PageError("\n".join(troubles))
