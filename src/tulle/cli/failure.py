"""How a command ends when it cannot do what it was asked."""

from __future__ import annotations


class Failure(Exception):  # noqa: N818 - it is an ending, not a defect
    """Ends the program: the message is for the person at the terminal; 1 says no, 2 says that nothing could be tried."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
