"""No program outlives the agent that started it, however the agent ends.

A small shell waits at the end of a pipe whose other end only the agent holds. The agent tells it of every process group that it starts and
reaps. When the agent is gone, even by SIGKILL, the pipe ends, and the shell ends the groups that are left. Unlike PR_SET_PDEATHSIG this
reaches the children of children, needs no code between fork and exec, and does not depend on which thread started the program.
"""

from __future__ import annotations

import os
import subprocess
from typing import Self

PATIENCE = 2
"""Seconds between the polite and the final signal to groups whose agent is gone."""

_SCRIPT = f"""
trap '' INT TERM HUP QUIT
groups=' '
while read -r verb group; do
  case $verb in
    +) groups="$groups$group " ;;
    -) case $groups in *" $group "*) groups="${{groups%% $group *}} ${{groups#* $group }}" ;; esac ;;
  esac
done
[ "$groups" = ' ' ] && exit 0
for group in $groups; do kill -TERM "-$group" 2>/dev/null; done
sleep {PATIENCE}
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
exit 0
"""


class Guard:
    """Knows the process groups that must not outlive this process. A context manager: at its end nothing is left to guard."""

    def __init__(self) -> None:
        self._shell: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
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
        return self

    def __exit__(self, *_: object) -> None:
        if self._shell and self._shell.stdin:
            self._shell.stdin.close()
            self._shell.wait()
            self._shell = None

    def add(self, group: int) -> None:
        """From now on this group ends with the agent."""
        self._tell(f"+ {group}\n")

    def remove(self, group: int) -> None:
        """The group has ended: its number may soon be someone else's."""
        self._tell(f"- {group}\n")

    def _tell(self, line: str) -> None:
        if self._shell and self._shell.stdin:
            try:
                self._shell.stdin.write(line.encode())
            except BrokenPipeError:
                # Someone ended the shell. The programs run on; they are merely no longer guarded.
                self._shell.wait()
                self._shell = None
