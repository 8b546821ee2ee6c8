"""One client's stream: what it wants, what it was sent, what it has taken over, and what to do next.

The stream leads its client from the snapshot that it holds to the latest one, so that nothing the client uses is ever missing:
clusters first, then their endpoints, then listeners and routes, and when those are in place the old clusters go (`kinds.USERS`).
Each kind has at most one response under way. A newer snapshot replaces the target in the middle of the sequence: what was not sent
is never sent, however many snapshots there were in between.

A refusal does not stop the stream. The client keeps what it had of the refused names; the others are sent again where the client may
have dropped them, in halves if it did not say which one it refused. What depends on the client doing something (taking a
cluster, asking for its endpoints) is waited for, but never longer than `Reminder.PATIENCE`.
"""

from __future__ import annotations

from collections.abc import Iterator

from tulle.discovery.blame import may_pass, named
from tulle.discovery.events import Acknowledged, Command, Complete, Event, Offer, Rejected, Remind, Reminded, Reminder, Request, Send
from tulle.discovery.kinds import CDS, EDS, LDS, ORDER, RDS, ROUTING, SDS, USERS, WHOLE
from tulle.discovery.reply import advance, attempt, remove
from tulle.discovery.shared import NAMES, Shared
from tulle.discovery.track import Flight, Refused, Track
from tulle.discovery.wire import Mode, encode_nonce
from tulle.translate.snapshot import Entry, Snapshot


class Stream:
    """Feed events to `on`, execute the commands that it returns, in order."""

    def __init__(self, mode: Mode, snapshot: Snapshot, shared: Shared) -> None:
        self.mode, self._target, self._shared = mode, snapshot, shared
        self._tracks: dict[str, Track] = {}
        self._order: tuple[Track, ...] = ()
        self._ready: Snapshot | None = None
        """The latest snapshot whose clusters and endpoints are in place."""
        self._complete: Snapshot | None = None
        """The last of which that was said."""
        self._nothing = shared.interest(wildcard=False, names=NAMES)
        self._warming: frozenset[str] = NAMES
        """Clusters that changed before a resuming client came to subscribe to endpoints."""
        self._unasked_endpoints: frozenset[str] = NAMES
        self._unasked_routes: frozenset[str] = NAMES
        self._unasked_secrets: frozenset[str] = NAMES
        self._without_listeners = False
        self._nonce = 0
        self._token = 0
        self._blocked = False
        """Something is waited for that the client may never do."""
        self._patience: int | None = None
        self._linger: int | None = None
        self._retry: int | None = None
        self._ripening: frozenset[str] = NAMES
        self._ripe: frozenset[str] = NAMES
        """Clusters that have been without use for long enough to be removed."""

    def on(self, event: Event) -> list[Command]:
        """Takes an event in; what is to be done now."""
        commands: list[Command] = []
        match event:
            case Request():
                commands = self._request(event)
            case Offer():
                self._offer(event.snapshot)
            case Reminded():
                self._reminded(event.token)
        commands.extend(self._advance())
        return commands

    def acknowledged(self, type_url: str) -> Snapshot | None:
        """The snapshot whose resources of this kind the client took over last, completely."""
        track = self._tracks.get(type_url)
        return track.acked if track else None

    @property
    def idle(self) -> bool:
        """The client holds all of the latest snapshot that it subscribed to, and nothing else."""
        return all(track.clean and track.sent is self._target and not track.stale and not track.asked for track in self._order)

    # Events

    def _request(self, request: Request) -> list[Command]:
        track = self._tracks.get(request.type_url)
        if track is None:
            self._begin(request)
            return []
        if self.mode is Mode.SOTW and request.nonce != track.nonce:
            return []  # xDS protocol, "ACK, NACK, and resource type instance version": a stale request is followed by a fresh one
        flight = track.flight
        commands = self._answered(track, flight, request.error) if flight and request.nonce == flight.nonce else []
        if self.mode is Mode.SOTW:
            self._renamed(track, request.subscribe)
        else:
            if request.unsubscribe:
                track.unsubscribe(self._shared, frozenset(request.unsubscribe))
            if request.subscribe:
                track.subscribe(self._shared, frozenset(request.subscribe))
        return commands

    def _begin(self, request: Request) -> None:
        names = frozenset(request.subscribe)
        if not names and request.type_url in WHOLE:
            names = frozenset("*")
        track = Track(type_url=request.type_url, interest=self._shared.interest(wildcard=False, names=NAMES))
        track.subscribe(self._shared, names)
        if request.held:
            track.held, track.asked = request.held, NAMES
        if request.type_url == CDS:
            self._ready = None
        if request.type_url == EDS:
            track.asked |= self._warming & track.interest.names
            self._warming = NAMES
        self._tracks[request.type_url] = track
        self._order = tuple(sorted(self._tracks.values(), key=_place))

    def _renamed(self, track: Track, subscribe: tuple[str, ...]) -> None:
        """State of the world: a request says all names that the client wants. None at all is everything, until it said one."""
        interest = track.interest
        names = frozenset(subscribe)
        if not names and interest.wildcard and not interest.names:
            return
        before = interest.names | ({"*"} if interest.wildcard else NAMES)
        if names == before:
            return
        if gone := before - names:
            track.unsubscribe(self._shared, gone)
        if new := names - before:
            track.subscribe(self._shared, new)

    def _offer(self, snapshot: Snapshot) -> None:
        self._target = snapshot
        for track in self._order:
            track.told = NAMES
            if track.trials:  # their contents may be out of date: those that are still wanted are sent anew
                track.asked |= {e.name for group in track.trials for e in group if snapshot.get(track.type_url, e.name)}
                track.trials = []

    def _reminded(self, token: int) -> None:
        if token == self._patience:
            self._patience = None
            self._excuse()
        elif token == self._linger:
            self._linger = None
            self._ripe, self._ripening = self._ripe | self._ripening, NAMES
        elif token == self._retry:
            self._retry = None
            self._try_again()

    def _try_again(self) -> None:
        for track in self._order:
            again = [name for name, refused in track.refused.items() if refused.passing]
            track.told |= frozenset(again)
            for name in again:
                del track.refused[name]
                if entry := track.sent.get(track.type_url, name):
                    track.trials.append((entry,))

    def _excuse(self) -> None:
        """What the client has not done by now it is not expected to do."""
        self._unasked_endpoints |= self._endpoints_to_come(self._held_by_client())
        for type_url in (CDS, EDS):
            if track := self._tracks.get(type_url):
                track.excused = True
        if listeners := self._tracks.get(LDS):
            self._unasked_routes |= self._routes_to_come(listeners.sent)
            self._unasked_secrets |= self._secrets_to_come(listeners.sent)
        else:
            self._without_listeners = True

    # Answers

    def _answered(self, track: Track, flight: Flight, error: str | None) -> list[Command]:
        track.flight = None
        if error is None:
            return list(self._confirm(track))
        names = named(error, (entry.name for entry in flight.entries))
        if not names and len(flight.entries) > 1:
            self._halve(track, flight.entries)
            return []
        guilty = tuple(entry for entry in flight.entries if not names or entry.name in names)
        others = tuple(entry for entry in flight.entries if names and entry.name not in names and track.interest.covers(entry.name))
        if others and track.type_url not in WHOLE:
            track.trials.insert(0, others)
        repeated = all(entry.name in track.told for entry in guilty)
        rejected = self._refuse(track, guilty, error)
        return [*(() if repeated else (rejected,)), *self._retry_later(error)]

    def _halve(self, track: Track, entries: tuple[Entry, ...]) -> None:
        wanted = tuple(entry for entry in entries if track.interest.covers(entry.name))
        middle = (len(wanted) + 1) // 2
        track.trials[:0] = [half for half in (wanted[:middle], wanted[middle:]) if half]

    def _refuse(self, track: Track, guilty: tuple[Entry, ...], error: str) -> Rejected:
        replaced = {entry.name: good for entry in guilty if (good := track.good(entry))}
        for entry in guilty:
            if track.interest.covers(entry.name):
                refused = Refused(version=entry.version, good=replaced.get(entry.name), passing=may_pass(error))
                track.refused[entry.name] = refused
        track.excused = False
        return Rejected(type_url=track.type_url, entries=guilty, message=error, snapshot=track.sent, replaced=replaced)

    def _retry_later(self, error: str) -> Iterator[Command]:
        if self._retry is None and may_pass(error):
            self._token += 1
            self._retry = self._token
            yield Remind(reminder=Reminder.RETRY, token=self._token)

    def _confirm(self, track: Track) -> Iterator[Command]:
        if track.clean and track.acked is not track.sent:
            track.acked = track.sent
            yield Acknowledged(type_url=track.type_url, snapshot=track.sent)

    # What to do next

    def _advance(self) -> Iterator[Command]:
        # What was acknowledged until now lets routing go on, even if more is sent at once: else steady change would hold it up for good.
        self._look_whether_ready()
        for track in self._order:
            if track.type_url not in ROUTING:
                clusters = self._tracks.get(CDS) if track.type_url == EDS else None
                yield from self._push(track, clusters.sent if clusters else self._target)
        self._blocked = False
        self._look_whether_ready()
        for track in self._order:
            if track.type_url in ROUTING and self._ready is not None:
                yield from self._push(track, self._ready)
        for track in self._order:
            if track.stale and track.flight is None:
                yield from self._purge(track)
        yield from self._look_whether_complete()
        yield from self._be_patient()

    def _push(self, track: Track, goal: Snapshot) -> Iterator[Command]:
        if track.flight is not None:
            return
        if track.trials:
            group = track.trials.pop(0)
            yield self._send(track, attempt(self.mode, track, group), group)
            return
        if track.sent is goal and not (track.asked or track.owed or track.anew or track.held):
            return
        resuming = track.held is not None
        reply = advance(self.mode, self._shared, track, goal)
        if track.type_url == CDS and reply.entries:
            self._warm(reply.entries, goal, resuming=resuming)
        if reply.body is None:
            yield from self._confirm(track)
        else:
            yield self._send(track, reply.body, reply.entries)

    def _warm(self, clusters: tuple[Entry, ...], goal: Snapshot, *, resuming: bool) -> None:
        """A changed cluster waits for its endpoints to be sent again, even if those did not change."""
        endpoints = self._tracks.get(EDS)
        if endpoints is None and not resuming and not self._ripe:
            return
        names = frozenset(entry.name for entry in clusters)
        self._ripe -= names
        if endpoints:
            wanted = names if endpoints.interest.wildcard else names & endpoints.interest.names
            endpoints.asked |= {name for name in wanted if goal.get(EDS, name)}
        elif resuming:
            self._warming |= names

    def _send(self, track: Track, body: bytes, entries: tuple[Entry, ...]) -> Send:
        self._nonce += 1
        track.nonce = str(self._nonce)
        track.flight = Flight(nonce=track.nonce, entries=entries)
        return Send(type_url=track.type_url, body=body, nonce=encode_nonce(track.nonce))

    # Make: clusters and endpoints before what uses them

    def _held_by_client(self) -> Snapshot:
        """The snapshot whose clusters, and then endpoints, the client was sent last."""
        last = self._tracks.get(EDS) or self._tracks.get(CDS)
        return last.sent if last else self._target

    def _look_whether_ready(self) -> None:
        """Listeners and routes may go as far as clusters and endpoints have been acknowledged.

        Endpoints follow clusters, so whatever endpoints were sent for, clusters were sent for too, and nothing of it has been removed.
        """
        candidate = self._held_by_client()
        if candidate is self._ready:
            return
        clusters, endpoints = self._tracks.get(CDS), self._tracks.get(EDS)
        if (endpoints and endpoints.under_way) or (clusters and clusters.sent is candidate and clusters.under_way):
            return
        refused = any(track and track.refused and not track.excused for track in (clusters, endpoints))
        if refused or not self._endpoints_to_come(candidate) <= self._unasked_endpoints:
            self._blocked = True
            return
        self._ready = candidate

    def _endpoints_to_come(self, snapshot: Snapshot) -> frozenset[str]:
        if not (clusters := self._tracks.get(CDS)):
            return NAMES
        endpoints = self._tracks.get(EDS)
        return self._shared.unsubscribed_endpoints(snapshot, clusters.interest, endpoints.interest if endpoints else self._nothing)

    def _routes_to_come(self, snapshot: Snapshot) -> frozenset[str]:
        routes = self._tracks.get(RDS)
        return self._shared.unsubscribed_routes(snapshot, routes.interest if routes else self._nothing)

    def _secrets_to_come(self, snapshot: Snapshot) -> frozenset[str]:
        secrets = self._tracks.get(SDS)
        return self._shared.unsubscribed_secrets(snapshot, secrets.interest if secrets else self._nothing)

    def _look_whether_complete(self) -> Iterator[Command]:
        if self._complete is self._target or not {CDS, LDS} <= self._tracks.keys():
            return
        if not all(track.clean and track.sent is self._target for track in self._order):
            return
        if self._is_to_come(self._target):
            self._blocked = True
            return
        self._complete = self._target
        yield Complete(snapshot=self._target)

    def _is_to_come(self, snapshot: Snapshot) -> bool:
        """Whether the client has still to ask for something that what it holds of the snapshot refers to."""
        return not (
            self._endpoints_to_come(snapshot) <= self._unasked_endpoints
            and self._routes_to_come(snapshot) <= self._unasked_routes
            and self._secrets_to_come(snapshot) <= self._unasked_secrets
        )

    # Break: what nothing uses any longer goes

    def _purge(self, track: Track) -> Iterator[Command]:
        names = frozenset(
            name for name in track.stale if all(self._unused_by(user, track.type_url, name) for user in USERS[track.type_url])
        )
        if track.type_url == CDS and names:
            if (young := names - self._ripe) and self._linger is None:
                self._ripening = young
                self._token += 1
                self._linger = self._token
                yield Remind(reminder=Reminder.LINGER, token=self._token)
            names &= self._ripe
            self._ripe -= names
        if names and (body := remove(self.mode, track, names)) is not None:
            yield self._send(track, body, ())

    def _unused_by(self, user: str, type_url: str, name: str) -> bool:
        track = self._tracks.get(user)
        if user not in ROUTING:
            if track is None:
                return True
            gone = user == EDS or (track.flight is None and name not in track.stale and name not in track.withheld())
            return gone and track.sent.get(type_url, name) is None
        if track is None:
            return user == RDS or self._may_lack_listeners()
        if user == LDS and not self._routes_to_come(track.sent) <= self._unasked_routes:
            self._blocked = True
            return False
        return track.clean and track.sent.get(type_url, name) is None

    def _may_lack_listeners(self) -> bool:
        """A client that subscribes to clusters only has no routes that could use them; but most just have not come to it yet."""
        self._blocked = self._blocked or not self._without_listeners
        return self._without_listeners

    def _be_patient(self) -> Iterator[Command]:
        if not self._blocked:
            self._patience = None
        elif self._patience is None:
            self._token += 1
            self._patience = self._token
            yield Remind(reminder=Reminder.PATIENCE, token=self._token)


def _place(track: Track) -> tuple[int, str]:
    return ORDER.index(track.type_url) if track.type_url in ORDER else len(ORDER), track.type_url
