"""Documents over a store: what an apply does to each, what is remembered of the bad ones, and what is in force."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.certificates import Ca, secret, tls_secret
from support.documents import BAD, destination_rule, together, virtual_service
from support.sqlite import SqliteHarness, sqlite_harness
from tulle.model.resource import Key
from tulle.model.tls import Hidden
from tulle.store.document import Document, File, Outcome, Report
from tulle.store.documents import Documents
from tulle.store.port import ConflictError

VS = Key(kind="VirtualService", namespace="default", name="reviews")
DR = Key(kind="DestinationRule", namespace="default", name="reviews")


def on_documents(test: Callable[[Documents, SqliteHarness], Awaitable[None]]) -> Callable[[Path], None]:
    def run(tmp_path: Path) -> None:
        async def body() -> None:
            async with asyncio.timeout(60), sqlite_harness(tmp_path / "t.db") as harness:
                await test(Documents(harness.store), harness)

        asyncio.run(body())

    run.__name__ = test.__name__
    return run


async def apply(documents: Documents, *texts: str, **more: object) -> Report:
    return await documents.apply([File(path=f"{n}.yaml", text=text) for n, text in enumerate(texts)], **more)  # type: ignore[arg-type]


def outcomes(report: Report) -> list[tuple[str, str]]:
    return [(str(result.key), result.outcome.value) for result in report.results]


async def found(documents: Documents, key: Key = VS) -> Document:
    document = await documents.get(key)
    assert document
    return document


@on_documents
async def test_created_configured_unchanged(documents: Documents, _: SqliteHarness) -> None:
    assert outcomes(await apply(documents, together(virtual_service(), destination_rule()))) == [
        ("VirtualService/default/reviews", "created"),
        ("DestinationRule/default/reviews", "created"),
    ]
    report = await apply(documents, together(virtual_service(timeout="6s"), destination_rule()))
    assert [outcome for _, outcome in outcomes(report)] == ["configured", "unchanged"]
    document = await found(documents)
    assert document.applied
    assert (document.applied.generation, document.revision) == (2, report.results[0].revision)
    assert document.applied.resource.revision == report.revision
    again = await apply(documents, together(virtual_service(timeout="6s"), destination_rule()))
    assert [outcome for _, outcome in outcomes(again)] == ["unchanged", "unchanged"]
    assert again.revision == report.revision


@on_documents
async def test_the_order_of_creation_is_kept(documents: Documents, _: SqliteHarness) -> None:
    await apply(documents, together(virtual_service("a"), virtual_service("b")))
    await apply(documents, virtual_service("c"))
    await apply(documents, virtual_service("a", timeout="9s"))
    order = {d.key.name: d.resource.created for d in await documents.list() if d.resource}
    assert order == {"a": 1, "b": 2, "c": 3}
    await documents.delete([VS, Key(kind="VirtualService", namespace="default", name="a")])
    await apply(documents, virtual_service("a"))
    assert (await found(documents, Key(kind="VirtualService", namespace="default", name="a"))).resource.created == 4  # type: ignore[union-attr]


@on_documents
async def test_a_document_that_moved_to_other_lines_is_unchanged_and_its_lines_are_new(documents: Documents, _: SqliteHarness) -> None:
    await apply(documents, virtual_service())
    report = await apply(documents, "# a comment\n\n" + virtual_service())
    assert outcomes(report) == [("VirtualService/default/reviews", "unchanged")]
    document = await found(documents)
    assert document.applied
    assert document.applied.generation == 1
    assert document.applied.resource.origin.line == 3


@on_documents
async def test_a_bad_document_leaves_the_good_ones_and_its_last_good_version_in_force(documents: Documents, _: SqliteHarness) -> None:
    await apply(documents, virtual_service())
    report = await apply(documents, together(BAD, destination_rule()))
    assert outcomes(report) == [("VirtualService/default/reviews", "rejected"), ("DestinationRule/default/reviews", "created")]
    assert [str(v.origin) for v in report.violations] == ["0.yaml:8"]
    document = await found(documents)
    condition = document.accepted()
    assert (condition.status, condition.reason) == (False, "Invalid")
    assert condition.message.startswith("0.yaml:8: VirtualService/reviews: spec.http[0].timeout: ")
    assert condition.message.endswith("; the version before stays in force")
    in_force = await documents.in_force()
    assert set(in_force) == {VS, DR}
    assert in_force[VS].revision == 1


@on_documents
async def test_a_spoilt_secret_leaves_the_good_one_in_force(documents: Documents, _: SqliteHarness) -> None:
    pair, other = Ca().issue("a.example"), Ca().issue("a.example")
    key = Key(kind="Secret", namespace="default", name="web")
    await apply(documents, tls_secret("web", pair))
    for spoilt in (
        secret("web", tls_crt=other.certificate),
        secret("web", tls_crt=other.certificate, tls_key=pair.key),
        "type: kubernetes.io/tsl\n" + tls_secret("web", other),
        "type: [kubernetes.io/tls]\n" + tls_secret("web", other),
        "apiVersion: v1\nkind: Secret\nmetadata: {name: web}\ndata: [tls.crt, tls.key]\n",
    ):
        report = await apply(documents, spoilt)
        assert outcomes(report) == [("Secret/default/web", "rejected")]
        assert (await found(documents, key)).accepted().message.endswith("; the version before stays in force")
        held = (await documents.in_force())[key].spec
        assert (held.chain, held.key) == (Hidden(pair.certificate), Hidden(pair.key))


@on_documents
async def test_a_document_that_was_never_good_is_known_without_a_spec(documents: Documents, _: SqliteHarness) -> None:
    await apply(documents, BAD)
    document = await found(documents)
    assert document.resource is None
    assert document.accepted().status is False
    assert "stays in force" not in document.accepted().message
    assert await documents.in_force() == {}
    report = await documents.delete([VS])
    assert outcomes(report) == [("VirtualService/default/reviews", "deleted")]
    assert await documents.get(VS) is None


@on_documents
async def test_a_good_apply_clears_the_rejection(documents: Documents, _: SqliteHarness) -> None:
    for good, outcome in ((virtual_service(), Outcome.CREATED), (virtual_service(), Outcome.UNCHANGED)):
        await apply(documents, BAD)
        report = await apply(documents, good)
        assert [result.outcome for result in report.results] == [outcome]
        assert (await found(documents)).accepted().status is True


@on_documents
async def test_a_rejection_belongs_to_its_namespace(documents: Documents, _: SqliteHarness) -> None:
    await apply(documents, together(virtual_service(), virtual_service(namespace="shop")))
    await apply(documents, virtual_service(namespace="shop", timeout="soon"))
    assert (await found(documents)).accepted().status is True
    assert (await found(documents, Key(kind="VirtualService", namespace="shop", name="reviews"))).accepted().status is False


@on_documents
async def test_text_that_is_no_document_is_told_and_not_remembered(documents: Documents, _: SqliteHarness) -> None:
    report = await apply(documents, "a: [", virtual_service())
    assert outcomes(report) == [("VirtualService/default/reviews", "created")]
    assert report.violations
    assert {v.origin.path for v in report.violations} == {"0.yaml"}
    assert len(await documents.list()) == 1


@on_documents
async def test_written_twice_the_last_one_holds_and_a_warning_says_so(documents: Documents, _: SqliteHarness) -> None:
    report = await apply(documents, virtual_service(timeout="1s"), virtual_service(timeout="2s"))
    assert outcomes(report) == [("VirtualService/default/reviews", "created")]
    assert "0.yaml:1: VirtualService/reviews: is written again at 1.yaml:1: only the last one holds" in [str(w) for w in report.warnings]
    assert (await documents.in_force())[VS].origin.path == "1.yaml"


@on_documents
async def test_dry_run_tells_all_and_changes_nothing(documents: Documents, harness: SqliteHarness) -> None:
    await apply(documents, virtual_service())
    before = await harness.store.range("")
    report = await apply(documents, virtual_service(timeout="1s"), destination_rule(), virtual_service("bad", timeout="x"), dry_run=True)
    assert [outcome for _, outcome in outcomes(report)] == ["configured", "created", "rejected"]
    assert report.violations
    await documents.delete([VS], dry_run=True)
    assert await harness.store.range("") == before


@on_documents
async def test_compare_and_swap(documents: Documents, _: SqliteHarness) -> None:
    first = await apply(documents, virtual_service(), expected={VS: 0})
    second = await apply(documents, virtual_service(timeout="6s"), expected={VS: first.revision})
    for wrong in (0, first.revision):
        with pytest.raises(ConflictError):
            await apply(documents, together(virtual_service(timeout="7s"), destination_rule()), expected={VS: wrong})
    assert (await found(documents)).revision == second.revision
    assert await documents.get(DR) is None


@on_documents
async def test_many_at_once_lose_nothing(documents: Documents, _: SqliteHarness) -> None:
    names = [f"n{number}" for number in range(30)]
    reports = await asyncio.gather(*(apply(documents, together(virtual_service(name), destination_rule())) for name in names))
    assert sum(result.outcome is Outcome.CREATED for report in reports for result in report.results) == 31
    created = [document.resource.created for document in await documents.list() if document.resource]
    assert sorted(created) == list(range(1, 32))


@on_documents
async def test_diff_shows_what_would_change(documents: Documents, harness: SqliteHarness) -> None:
    await apply(documents, together(virtual_service(), destination_rule()))
    before = await harness.store.range("")
    texts = together(virtual_service(timeout="6s"), destination_rule(), destination_rule("new"))
    differences, report = await documents.diff([File(path="x.yaml", text=texts)])
    assert [str(difference.key) for difference in differences] == ["VirtualService/default/reviews", "DestinationRule/default/new"]
    assert "-  - timeout: 5s\n+  - timeout: 6s\n" in differences[0].text
    assert "VirtualService/default/reviews (x.yaml:1)" in differences[0].text
    assert all(line.startswith(("+", "@@", "---")) for line in differences[1].text.splitlines())
    assert [result.outcome.value for result in report.results] == ["configured", "unchanged", "created"]
    assert await harness.store.range("") == before


@on_documents
async def test_delete_by_file_also_deletes_what_is_not_valid(documents: Documents, _: SqliteHarness) -> None:
    await apply(documents, together(virtual_service(), destination_rule()))
    report = await documents.delete_files([File(path="x.yaml", text=together(BAD, destination_rule(), destination_rule("none")))])
    assert [outcome for _, outcome in outcomes(report)] == ["deleted", "deleted", "not found"]
    assert await documents.list() == ()


@on_documents
async def test_list_selects(documents: Documents, _: SqliteHarness) -> None:
    await apply(documents, together(virtual_service("z"), virtual_service("a"), destination_rule(), virtual_service(namespace="shop")))
    assert [str(d.key) for d in await documents.list(("VirtualService",), "default")] == [
        "VirtualService/default/a",
        "VirtualService/default/z",
    ]
    assert [d.key.kind for d in await documents.list(namespace="default")] == ["DestinationRule", "VirtualService", "VirtualService"]
    assert len(await documents.list()) == 4


# === refused by the proxies


@on_documents
async def test_what_the_proxies_refuse_is_replaced_by_the_last_good_version(documents: Documents, harness: SqliteHarness) -> None:
    await apply(documents, virtual_service())
    good = (await documents.in_force())[VS]
    report = await apply(documents, virtual_service(timeout="6s"))
    assert await documents.reject_in_force(VS, report.revision, "proxy said no", good)
    await harness.reopen()
    documents = Documents(harness.store)
    document = await found(documents)
    assert document.is_refused
    assert document.resource != good
    assert (await documents.in_force())[VS] == good
    assert (await documents.in_force())[VS].revision == good.revision
    refusal = document.refusal()
    assert refusal
    assert (refusal.type, refusal.status, refusal.reason) == ("Programmed", False, "Refused")
    assert refusal.message == "proxy said no; its last good version stays in force"


@on_documents
async def test_what_was_refused_and_never_good_is_not_in_force(documents: Documents, _: SqliteHarness) -> None:
    report = await apply(documents, virtual_service())
    assert await documents.reject_in_force(VS, report.revision, "no", None)
    assert await documents.in_force() == {}
    refusal = (await found(documents)).refusal()
    assert refusal
    assert refusal.message == "no; it is not in force"


@on_documents
async def test_a_refusal_of_an_older_version_is_too_late(documents: Documents, _: SqliteHarness) -> None:
    first = await apply(documents, virtual_service())
    await apply(documents, virtual_service(timeout="6s"))
    assert not await documents.reject_in_force(VS, first.revision, "no", None)
    assert not await documents.reject_in_force(DR, 1, "no", None)
    assert (await found(documents)).refusal() is None


@on_documents
async def test_a_refusal_ends_with_a_new_version_or_by_force_only(documents: Documents, _: SqliteHarness) -> None:
    report = await apply(documents, virtual_service())
    await documents.reject_in_force(VS, report.revision, "no", None)
    await apply(documents, "# moved\n" + virtual_service())
    assert (await found(documents)).is_refused
    await apply(documents, virtual_service(timeout="6s"))
    document = await found(documents)
    assert not document.is_refused
    await documents.reject_in_force(VS, document.revision, "no", None)
    forced = await apply(documents, virtual_service(timeout="6s"), force=True)
    assert [result.outcome for result in forced.results] == [Outcome.UNCHANGED]
    assert not (await found(documents)).is_refused


# === watching


@on_documents
async def test_a_watch_tells_what_is_in_force_after_every_change(documents: Documents, _: SqliteHarness) -> None:
    await apply(documents, virtual_service())
    watch = aiter(documents.watch())
    update = await anext(watch)
    assert (set(update.in_force), update.changed) == ({VS}, {VS})
    kept = update.in_force[VS]
    report = await apply(documents, destination_rule())
    update = await anext(watch)
    assert (update.revision, set(update.in_force), update.changed) == (report.revision, {VS, DR}, {DR})
    assert update.in_force[VS] is kept, "what did not change is the same object"
    await apply(documents, BAD)
    assert (await anext(watch)).changed == frozenset()
    second = await apply(documents, virtual_service(timeout="6s"))
    assert (await anext(watch)).changed == {VS}
    await documents.reject_in_force(VS, second.revision, "no", kept)
    update = await anext(watch)
    assert update.changed == {VS}
    assert update.in_force[VS] == kept
    await documents.delete([DR])
    update = await anext(watch)
    assert (set(update.in_force), update.changed) == ({VS}, {DR})


@on_documents
async def test_a_watch_that_fell_behind_goes_on_with_the_whole(documents: Documents, harness: SqliteHarness) -> None:
    await apply(documents, together(virtual_service(), destination_rule()))
    watch = aiter(documents.watch())
    await anext(watch)
    await documents.delete([DR])
    await harness.compact()
    update = await anext(watch)
    assert (set(update.in_force), update.changed) == ({VS}, {DR})


@on_documents
async def test_a_stored_document_that_cannot_be_read_is_told_and_can_be_replaced(documents: Documents, harness: SqliteHarness) -> None:
    """As after a downgrade: the store holds what this version does not know."""
    await apply(documents, together(virtual_service(), destination_rule()))
    key = "documents/applied/VirtualService/default/reviews"
    entry = await harness.store.get(key)
    assert entry
    await harness.store.put(key, entry.value.replace(b'"timeout"', b'"fromTheFuture"'))
    assert set(await documents.in_force()) == {DR}
    assert "cannot be read by this version" in (await found(documents)).accepted().message
    report = await apply(documents, virtual_service())
    assert [result.outcome for result in report.results] == [Outcome.CREATED]
    assert set(await documents.in_force()) == {VS, DR}


STEPS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["1s", "2s", "wrong", "delete", "refuse"])),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_whatever_happens_the_last_good_version_is_in_force(steps: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """A model of the rules in ten lines, against the real thing."""

    async def body() -> None:
        async with sqlite_harness(tmp_path_factory.mktemp("documents") / "t.db") as harness:
            documents = Documents(harness.store)
            applied: dict[str, str] = {}
            in_force: dict[str, str] = {}
            refused: set[str] = set()
            for name, what in steps:
                key = Key(kind="VirtualService", namespace="default", name=name)
                if what == "delete":
                    await documents.delete([key])
                    applied.pop(name, None)
                    in_force.pop(name, None)
                    refused.discard(name)
                elif what == "refuse":
                    document = await documents.get(key)
                    await documents.reject_in_force(key, document.revision if document else 0, "no", None)
                    if name in applied:
                        in_force.pop(name, None)
                        refused.add(name)
                else:
                    await apply(documents, virtual_service(name, timeout=what))
                    if what != "wrong" and applied.get(name) != what:
                        applied[name] = in_force[name] = what
                        refused.discard(name)
                found = await Documents(harness.store).in_force()
                assert {key.name: resource.spec.http[0].timeout.total_seconds() for key, resource in found.items()} == {
                    name: float(timeout[:-1]) for name, timeout in in_force.items()
                }

    asyncio.run(body())
