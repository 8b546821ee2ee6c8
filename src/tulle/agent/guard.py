"""No program outlives the agent that started it, however the agent ends.

A small shell waits at the end of a pipe whose other end only the agent holds. It hears of every process group that starts, from the new
process itself, and from the agent of every one that has ended. When the agent is gone, even by SIGKILL, the pipe ends, and the shell ends
the groups that are left. Unlike PR_SET_PDEATHSIG this reaches the children of children, needs no code of ours between fork and exec, and
does not depend on which thread started the program.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import IO, Self

PATIENCE = 2
"""Seconds between the polite and the final signal to groups whose agent is gone."""

_SCRIPT = f"""
trap '' INT TERM HUP QUIT
groups=' '
while read -r verb group; do
  case $verb in
    +) case $groups in *" $group "*) ;; *) groups="$groups$group " ;; esac ;;
    -) case $groups in *" $group "*) groups="${{groups%% $group *}} ${{groups#* $group }}" ;; esac ;;
  esac
done
for group in $groups; do kill -TERM "-$group" 2>/dev/null; done
tenths=0
while [ $tenths -lt {PATIENCE * 10} ]; do
  left=
  for group in $groups; do kill -0 "-$group" 2>/dev/null && left=1; done
  [ "$left" ] || exit 0
  sleep 0.1
  tenths=$((tenths + 1))
done
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
exit 0
"""


ENROL = 'echo "+ $$" >&0; exec "$@" </dev/null'
"""For a shell whose standard input is the guard's pipe: it becomes the program of its arguments, and is guarded before that runs. The pipe
does not end before the shell has spoken, even when the agent is killed meanwhile.
"""


class Guard:
    """Knows the process groups that must not outlive this process. A context manager: at its end nothing is left to guard."""

    def __init__(self) -> None:
        self._shell: subprocess.Popen[bytes] | None = None
        self._groups: set[int] = set()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def enrolled(self, args: tuple[str, ...]) -> tuple[str, ...]:
        """The command line that starts a program guarded from its first moment, as leader of its group, with `pipe` as standard input."""
        return ("/bin/sh", "-c", ENROL, args[0], *args)

    @property
    def pipe(self) -> int:
        """The file descriptor for a program that enrols itself."""
        if self._shell is None or self._shell.poll() is not None:
            # Someone ended the shell.
            self._end()
            self._start()
        assert self._shell  # noqa: S101 - just started
        return self._input(self._shell).fileno()

    def add(self, group: int) -> None:
        """From now on this group ends with the agent."""
        self._groups.add(group)
        self._tell(f"+ {group}\n")

    def remove(self, group: int) -> None:
        """The group has ended: its number may soon be someone else's."""
        self._groups.discard(group)
        self._tell(f"- {group}\n")

    def _start(self) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
            cwd="/",
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
        )
        for group in self._groups:
            self._tell(f"+ {group}\n")

    def _end(self) -> None:
        if self._shell:
            self._input(self._shell).close()
            self._shell.wait()
            self._shell = None

    def _tell(self, line: str) -> None:
        if self._shell:
            # Where someone ended the shell, the next program that starts brings a new one.
            with contextlib.suppress(BrokenPipeError):
                self._input(self._shell).write(line.encode())

    @staticmethod
    def _input(shell: subprocess.Popen[bytes]) -> IO[bytes]:
        assert shell.stdin  # noqa: S101 - asked for
        return shell.stdin
