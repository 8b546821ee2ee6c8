"""Session persistence: requests of one session go to one backend."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Annotated

from tulle.resources.gatewayapi.types import GatewayDuration, HeaderName, short_text
from tulle.resources.scalars import choice
from tulle.resources.spec import Problem, Spec


class SessionType(Enum):
    COOKIE = "Cookie"
    HEADER = "Header"


class Lifetime(Enum):
    PERMANENT = "Permanent"
    SESSION = "Session"


class SessionCookie(Spec):
    lifetime_type: Annotated[Lifetime, choice(Lifetime)] = Lifetime.SESSION
    name: HeaderName | None = None
    path: Annotated[str, short_text(1024)] = "/"


class SessionHeader(Spec):
    name: HeaderName


class SessionPersistence(Spec):
    """`sessionName`, `idleTimeout` and `cookieConfig` are the spelling of earlier releases."""

    at_most_one_of = (("cookie", "cookie_config"),)

    type: Annotated[SessionType, choice(SessionType)] = SessionType.COOKIE
    absolute_timeout: GatewayDuration | None = None
    idle_timeout: GatewayDuration | None = None
    session_name: Annotated[str, short_text(128)] | None = None
    cookie: SessionCookie | None = None
    cookie_config: SessionCookie | None = None
    header: SessionHeader | None = None

    def check(self) -> Iterable[Problem]:
        cookie = self.cookie or self.cookie_config
        if cookie and self.type is not SessionType.COOKIE:
            yield ("cookie" if self.cookie else "cookie_config",), "must not be set where type is Header"
        if self.header and self.type is not SessionType.HEADER:
            yield ("header",), "must not be set where type is Cookie"
        if cookie and cookie.lifetime_type is Lifetime.PERMANENT and self.absolute_timeout is None:
            yield ("absolute_timeout",), "required where the cookie's lifetimeType is Permanent"

    @property
    def name(self) -> str:
        """The name of the cookie or of the header; empty where it is left to us."""
        told = self.header.name if self.header else (self.cookie or self.cookie_config or SessionCookie()).name
        return told or self.session_name or ""
