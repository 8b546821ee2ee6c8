"""What the commands that run proxies share: reading their options, and running until Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from tulle.cli.failure import Failure
from tulle.settings import Address, Settings, SettingsError, read_settings

if TYPE_CHECKING:
    from tulle.agent.spec import AgentSettings
    from tulle.agent.voucher import Voucher

T = TypeVar("T")
U = TypeVar("U")
Runner = Callable[[asyncio.Event, asyncio.Event], Coroutine[Any, Any, int]]
"""Runs until `stop`, and faster once `hurry` is set; the exit code."""
JoinTokenFile = Annotated[
    str,
    typer.Option(
        envvar="TULLE_JOIN_TOKEN_FILE", help="Join the mesh with the token in this file (or in TULLE_JOIN_TOKEN).", metavar="FILE"
    ),
]
JoinCert = Annotated[
    str,
    typer.Option(
        envvar="TULLE_JOIN_CERT", help="Join the mesh with this certificate, of an authority that vouches for machines.", metavar="FILE"
    ),
]
JoinKey = Annotated[str, typer.Option(envvar="TULLE_JOIN_KEY", help="The key of that certificate.", metavar="FILE")]
JoinRoot = Annotated[
    str, typer.Option(envvar="TULLE_JOIN_ROOT", help="SHA-256 of the root of the mesh that it is to join so.", metavar="HEX")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """Options by which workloads become members of the mesh."""

    token_file: str = ""
    certificate: str = ""
    key: str = ""
    root: str = ""


def read(option: str, reader: Callable[[U], T], text: U) -> T:
    """The option's value as the reader takes it. Ends the program (2) with the option's name when it does not."""
    try:
        return reader(text)
    except ValueError as error:
        raise Failure(f"{option}: {error}", exit_code=2) from None


def settings_from(options: Mapping[str, str | None]) -> Settings:
    """Settings from the environment and the options of a command. Ends the program (2) with all that is wrong with them."""
    try:
        return read_settings(os.environ, options)
    except SettingsError as error:
        raise Failure(str(error), exit_code=2) from None


def started(main: Runner) -> int:
    """Runs `main(stop, hurry)` until it ends by itself or by signals. What the system denied is told without a traceback."""
    from tulle.agent.farewell import serve
    from tulle.store.port import StoreError

    # What was loaded stays: the collector need not look through it again after every change to the mesh.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    try:
        return serve(main)
    except* (OSError, StoreError) as group:
        raise Failure("; ".join(_sentences(group))) from group


async def greeted(work: Coroutine[Any, Any, int], ready: asyncio.Event, greeting: Callable[[], str]) -> int:
    """Does the work, and says `greeting` on the terminal once `ready` is set. The work's result."""

    async def greet() -> None:
        await ready.wait()
        sys.stderr.write(f"tulle: {greeting()}\n")

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(greet())
        code = await work
        waiting.cancel()
    return code


def member_of(settings: AgentSettings, workload: str, joining: Joining, run: Callable[[AgentSettings], Runner]) -> Runner:
    """As `members_of`, for one workload."""
    return members_of(settings, (workload,), joining, lambda admitted: run(admitted[workload]))


def members_of(
    settings: AgentSettings, workloads: Sequence[str], joining: Joining, run: Callable[[Mapping[str, AgentSettings]], Runner]
) -> Runner:
    """What `run` makes of the settings with all that each workload (`NAMESPACE/SERVICE_ACCOUNT`) shows to the control plane.

    Where there are tokens or a certificate to do so, they join first. Ends the program (2) where only those who have joined are let in.
    """
    from tulle.cli.credentials import CA_VARIABLE, OfAgent, join_token
    from tulle.cli.credentials import read as read_file

    folder = Path(settings_from({}).database(os.environ)).with_name("identities")
    paths = {workload: folder / f"{workload.replace('/', '~')}.json" for workload in workloads}
    token, voucher = join_token(joining.token_file), _voucher(joining, workloads)
    if token and not workloads:
        raise Failure("--join-token-file: there is no workload here that could join", 2)
    if not (token or voucher) and (_is_plain(settings) or not all(path.exists() for path in paths.values())):
        _check_admitted(settings.xds, workloads)
        return run(dict.fromkeys(workloads, replace(settings, credentials=OfAgent())))
    from tulle.agent.membership import Membership
    from tulle.secure import context_of

    if roots := read_file(path := os.environ.get(CA_VARIABLE, ""), "--ca-file"):
        read(f"--ca-file: {path}", context_of, roots)
    vouchers = {voucher.workload: voucher} if voucher else {}
    members = {
        workload: Membership(path, settings.api, workload, report=_warn, roots=roots, voucher=vouchers.get(workload))
        for workload, path in paths.items()
    }
    work = run({workload: replace(settings, credentials=member, member=member) for workload, member in members.items()})

    async def joined(stop: asyncio.Event, hurry: asyncio.Event) -> int:
        for member in members.values():
            await member.enter(token)
        async with asyncio.TaskGroup() as tasks:
            renewing = [tasks.create_task(member.run()) for member in members.values()]
            code = await work(stop, hurry)
            for task in renewing:
                task.cancel()
        return code

    return joined


def _voucher(joining: Joining, workloads: Sequence[str]) -> Voucher | None:
    """What `--join-cert` names. Ends the program (2) where it cannot be used, or is for none of the workloads."""
    if bool(joining.certificate) != bool(joining.key):
        raise Failure("--join-cert and --join-key: one is of no use without the other", 2)
    if not joining.certificate:
        return None
    from tulle.agent.voucher import VoucherError, read_voucher

    try:
        voucher = read_voucher(joining.certificate, joining.key, joining.root)
    except VoucherError as error:
        raise Failure(str(error), 2) from None
    if voucher.workload not in workloads:
        raise Failure(f"--join-cert: {joining.certificate}: is for {voucher.workload}, not for {', '.join(workloads) or 'nobody'}", 2)
    return voucher


def _is_plain(settings: AgentSettings) -> bool:
    """Whether the control plane is beside, and asks for nothing."""
    from tulle.http_client import SECURE

    return _is_local(settings.xds) and not settings.api.startswith(SECURE)


def _is_local(xds: str) -> bool:
    return xds.startswith("/") or read("--xds", Address.parse, xds).is_loopback


def _check_admitted(xds: str, workloads: Sequence[str]) -> None:
    if not _is_local(xds) and os.environ.get("TULLE_XDS_TLS") != "off":
        raise Failure(
            f"proxies get their configuration from {xds} only as members of the mesh: there, make a token with\n"
            + "".join(f"  tulle token create --for {workload} >> join-token\n" for workload in workloads)
            + "and give it with --join-token-file; a gateway's is made with --gateway, too. "
            "Or join with --join-cert. "
            "(TULLE_XDS_TLS=off, here and there, goes without, and believes whatever anybody says.)",
            2,
        )


def api_of(control: str) -> str:
    """`--control` as agents take it: beyond loopback over TLS, unless it begins with http://. Ends the program (2)."""
    from tulle.http_client import SECURE

    if control.startswith("/"):
        return control
    bare = control.removeprefix(SECURE).removeprefix("http://").rstrip("/")
    address = read("--control", Address.parse, bare)
    is_secure = control.startswith(SECURE) or not (control.startswith("http://") or address.is_loopback)
    return f"{SECURE}{bare}" if is_secure else bare


def _warn(line: str) -> None:
    sys.stderr.write(f"tulle: {line}\n")


def _sentences(group: BaseExceptionGroup[Exception]) -> Iterator[str]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _sentences(error)
        else:
            yield (isinstance(error, OSError) and not error.filename and error.strerror) or str(error)
