"""Which of several suspected documents makes Envoy refuse a configuration, found by halving.

Group testing: a good half is cleared with one trial, so that one bad document among n costs about 2·log2(n) trials.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from tulle.model.resource import Key

Trial = Callable[[Sequence[Key]], Awaitable[str | None]]
"""Tries the suspects together, on top of all that is not suspected: the error text, or None when it is accepted."""


async def culprits(suspects: Sequence[Key], trial: Trial) -> dict[Key, str]:
    """The documents to take out, each with the error that it causes; empty when the suspects are accepted together.

    Suspects that are refused only together are all culprits: none of them can be told to be the good one.
    """
    error = await trial(suspects)
    if error is None:
        return {}
    if len(suspects) == 1:
        return {suspects[0]: error}
    middle = len(suspects) // 2
    found = await culprits(suspects[:middle], trial) | await culprits(suspects[middle:], trial)
    return found or dict.fromkeys(suspects, error)
