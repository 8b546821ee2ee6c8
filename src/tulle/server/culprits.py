"""Which of several suspected documents makes Envoy refuse a configuration, found by halving.

Group testing: a good half is cleared with one trial, so that one bad document among n costs about 2·log2(n) trials. Where no half is bad by
itself, the fewest that are refused together are found by Junker's QuickXplain (AAAI 2004), for about as many trials each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from tulle.model.resource import Key

Trial = Callable[[Sequence[Key]], Awaitable[str | None]]
"""Tries the suspects together, on top of all that is not suspected: the error text, or None when it is accepted."""


async def culprits(suspects: Sequence[Key], trial: Trial) -> dict[Key, str]:
    """The documents to take out, each with the error that it causes; empty when the suspects are accepted together.

    Of suspects that are refused only together none can be told to be the good one; those without whom it is accepted too are cleared.
    """
    error = await trial(suspects)
    if error is None:
        return {}
    if len(suspects) == 1:
        return {suspects[0]: error}
    middle = len(suspects) // 2
    found = await culprits(suspects[:middle], trial) | await culprits(suspects[middle:], trial)
    return found or dict.fromkeys(await _together((), (), suspects, trial), error)


async def _together(known: Sequence[Key], added: Sequence[Key], suspects: Sequence[Key], trial: Trial) -> Sequence[Key]:
    """The fewest of the suspects that are refused together with those `known`, of whom `added` came last."""
    if added and await trial(known) is not None:
        return ()
    if len(suspects) == 1:
        return suspects
    first, second = suspects[: len(suspects) // 2], suspects[len(suspects) // 2 :]
    of_second = await _together((*known, *first), first, second, trial)
    of_first = await _together((*known, *of_second), of_second, first, trial)
    return (*of_first, *of_second)
