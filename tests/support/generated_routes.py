"""Route tables and requests made by chance: small vocabularies, so that rules overlap and requests come near to them."""

from __future__ import annotations

import re
from datetime import timedelta
from random import Random

from support.agreement import Sent
from tulle.model.routing import (
    Abort,
    Compare,
    Cors,
    Delay,
    DirectResponse,
    Fault,
    Forward,
    HeaderMatch,
    HeaderOps,
    Mirror,
    QueryMatch,
    Redirect,
    RetryPolicy,
    Route,
    RouteMatch,
    RouteTable,
    StringMatch,
    VirtualHost,
    WeightedCluster,
)

CLUSTERS = ("c0", "c1", "c2", "c3")
EMPTY = "nobody"
"""A cluster without endpoints."""
MISSING = "missing"
"""A cluster that does not exist."""

DOMAINS = (
    "a.example", "b.example", "A.Example", "a.example:80", "a.example:8080", "x.a.example", "[::1]", "[::1]:80", "10.0.0.1", "a",
    "*.example", "*.a.example", "*a.example", "*.x.a.example", "*.example:8080", "a.*", "x.a.*", "b.example.*", "*-v1.example",
)  # fmt: skip
HOSTS = (
    "a.example", "b.example", "A.EXAMPLE", "a.example:80", "a.example:8080", "x.a.example", "y.x.a.example", ".example", "a.example.",
    "c.example:8080", "[::1]", "[::1]:80", "[::1]:9", "10.0.0.1", "10.0.0.1:80", "a", "a.b", "x.a.b", "b.example.org", "w-v1.example",
    "xa.example", "nothing", "a:", "", "a:80:80", "a_b", "a.example:443", "b.example:80",
)  # fmt: skip
PATHS = (
    "/", "/a", "/a/", "/a/b", "/A/b", "/ab", "/a/b/c", "/v1/items", "/v1/items/7", "/V1/Items", "/a%20b", "/~me", "/a;v=1", "/x%2fy",
    "/a//b", "/a/b?x=1", "/a?b", "/favicon.ico", "//a", "/a.html",
)  # fmt: skip
ODD_PATHS = (
    "/a/../b", "/a/./b", "/a/%2e%2e/a", "/%61", "/a%2Fb", "/a\\b", "/a%5cb", "/a/..;/a", "/..", "/.", "/a/b/..", "/%7Eme", "/a%zz", "/a|b",
    '/"', "/a{b}", "//", "/a/%2E/b", "/%41/b", "/a%00", "/a#b", "/a?x=/../y", "/a%3fx=1", "/[a]", "*", "a/b", "/%%32e", "/a`",
)  # fmt: skip
REGEXES = ("/a.*", "/a/[^/]+", ".*/b", "/v[0-9]+/items(/.*)?", "/", "(?i)/a/B", "/[ab]", "/a|/ab", ".*", "/(.*)", r"/.*\.html", "")
QUERIES = ("", "", "?x=1", "?x=2", "?x=1&x=2", "?y", "?x", "?x=", "?y=1&x=1", "?x=%31", "?X=1", "?x=a+b", "?", "?x=1;y=2", "?=1", "??x=1")
HEADERS = ("end-user", "x-a", "X-B", "cookie", "user-agent", "x-version")
VALUES = ("jason", "Jason", "1", "2", "", "a=1; b=2", "v1", "1,2", "jas", "Mozilla/5.0")
VALUE_REGEXES = ("jas.*", ".*", "[0-9]+", "^(.*?;)?( ?)(b=2)(;.*)?$", "(?i)JASON", ".+")
METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "GET", "GET", "get", "QUERY", "PROPFIND")
ORIGINS = ("http://a.example", "https://b.example", "null")
REWRITES = ("/", "/new", "/new/", "/v2", "new")
REGEX_REWRITES = (
    ("^/a/(.*)$", r"/z/\1"),
    ("a", "bb"),
    ("/", ""),
    ("x*", "-"),
    (r"/([^/]+)/([^/]+)", r"/\2/\1"),
    ("(q)?/", r"\1-"),
    (".*", ""),
)


class Chance:
    """All choices come from one seeded source."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.tunnels = False
        """Whether routes may take CONNECT."""

    def maybe(self, percent: int) -> bool:
        return self.random.random() * 100 < percent

    def some(self, options, low: int, high: int) -> list:
        return self.random.sample(options, min(len(options), self.random.randint(low, high)))

    def one(self, options):
        return self.random.choice(options)

    # ---- tables

    def table(self, name: str, *, tunnels: bool = False) -> RouteTable:
        self.tunnels = tunnels
        domains = self.some(DOMAINS, 1, 8)
        domains = list({d.lower(): d for d in domains}.values())
        hosts = []
        while domains:
            taken, domains = domains[:3], domains[3:]
            hosts.append(self.virtual_host(f"host-{len(hosts)}", tuple(taken)))
        if self.maybe(60):
            hosts.insert(self.random.randint(0, len(hosts)), self.virtual_host("any", ("*",)))
        return RouteTable(name=name, virtual_hosts=tuple(hosts), ignore_port_in_host=self.maybe(30))

    def virtual_host(self, name: str, domains: tuple[str, ...]) -> VirtualHost:
        routes = [self.route(f"{name}-route-{n}") for n in range(self.random.randint(0, 6))]
        if self.maybe(50):
            routes.append(Route(name=f"{name}-last", match=RouteMatch(), action=self.forward()))
        return VirtualHost(name=name, domains=domains, routes=tuple(routes), require_tls=self.maybe(4))

    def route(self, name: str) -> Route:
        if self.tunnels and self.maybe(20):
            headers = tuple(self.header_match() for _ in range(self.one((0, 0, 1))))
            action = Forward(clusters=(WeightedCluster(cluster=self.one(CLUSTERS)),), connect=True)
            return Route(name=name, match=RouteMatch(headers=headers), action=action)
        return Route(
            name=name,
            match=self.match(),
            action=self.action(),
            request_headers=self.ops() if self.maybe(25) else HeaderOps(),
            response_headers=self.ops() if self.maybe(15) else HeaderOps(),
            fault=self.fault() if self.maybe(12) else None,
            cors=self.cors() if self.maybe(15) else None,
        )

    def match(self) -> RouteMatch:
        return RouteMatch(
            path=self.path_match() if self.maybe(85) else None,
            headers=tuple(self.header_match() for _ in range(self.one((0, 0, 0, 1, 1, 2)))),
            query=tuple(self.query_match() for _ in range(self.one((0, 0, 0, 0, 1)))),
        )

    def path_match(self) -> StringMatch:
        how = self.one((Compare.EXACT, Compare.PREFIX, Compare.PREFIX, Compare.REGEX, Compare.PATH_PREFIX))
        if how is Compare.REGEX:
            return StringMatch(compare=how, value=self.one([r for r in REGEXES if r]))
        paths = [p for p in PATHS if how is not Compare.PATH_PREFIX or ("?" not in p and "#" not in p)]
        return StringMatch(compare=how, value=self.one(paths), ignore_case=self.maybe(20))

    def value_match(self, values=VALUES) -> StringMatch:
        how = self.one((Compare.EXACT, Compare.EXACT, Compare.PREFIX, Compare.SUFFIX, Compare.REGEX))
        if how is Compare.REGEX:
            return StringMatch(compare=how, value=self.one(VALUE_REGEXES))
        wanted = self.one([v for v in values if v or how is Compare.EXACT])
        return StringMatch(compare=how, value=wanted, ignore_case=self.maybe(20))

    def header_match(self) -> HeaderMatch:
        if self.maybe(20):
            return HeaderMatch(name=":method", match=StringMatch(compare=Compare.EXACT, value=self.one(METHODS)), invert=self.maybe(20))
        if self.maybe(10):
            return HeaderMatch(name=":authority", match=self.value_match(HOSTS), invert=self.maybe(20))
        if self.maybe(10):
            return HeaderMatch(name=":scheme", match=StringMatch(compare=Compare.EXACT, value=self.one(("http", "https"))))
        name = self.one([h.lower() for h in HEADERS])
        return HeaderMatch(name=name, match=self.value_match() if self.maybe(75) else None, invert=self.maybe(30))

    def query_match(self) -> QueryMatch:
        return QueryMatch(name=self.one("xyX"), match=self.value_match(("1", "2", "", "a+b", "%31")) if self.maybe(70) else None)

    def action(self) -> Forward | Redirect | DirectResponse:
        kind = self.random.random()
        if kind < 0.7:
            return self.forward()
        return self.redirect() if kind < 0.9 else DirectResponse(status=self.one((200, 403, 404, 503)), body=self.one((b"", b"said")))

    def forward(self) -> Forward:
        rewrite = self.random.random()
        return Forward(
            clusters=self.destinations(),
            timeout=timedelta(seconds=self.one((5, 15))) if self.maybe(20) else None,
            retry=RetryPolicy(attempts=2, retry_on=("connect-failure",)) if self.maybe(20) else None,
            prefix_rewrite=self.one(REWRITES) if rewrite < 0.25 else None,
            regex_rewrite=self.one(REGEX_REWRITES) if 0.25 <= rewrite < 0.4 else None,
            host_rewrite=self.one(("other.example", "other:81")) if self.maybe(20) else None,
            mirrors=(Mirror(cluster=self.one(CLUSTERS)),) if self.maybe(5) else (),
        )

    def destinations(self) -> tuple[WeightedCluster, ...]:
        if self.maybe(4):
            return ()
        if self.maybe(6):
            return (WeightedCluster(cluster=self.one((EMPTY, MISSING))),)
        names = self.some(CLUSTERS, 1, self.one((1, 1, 3)))
        return tuple(self.destination(name) for name in names)

    def destination(self, name: str) -> WeightedCluster:
        return WeightedCluster(
            cluster=name,
            weight=self.random.randint(1, 5),
            request_headers=self.ops() if self.maybe(20) else HeaderOps(),
            response_headers=self.ops() if self.maybe(20) else HeaderOps(),
            host_rewrite="cluster.example" if self.maybe(15) else None,
        )

    def ops(self) -> HeaderOps:
        names = [h.lower() for h in HEADERS if h != "cookie"] + ["x-new", "x-newer"]
        values = ("1", "two", "50%", "", "a, b", "100%%")
        return HeaderOps(
            remove=tuple(sorted(self.some(names, 0, 2))),
            set=tuple(sorted((n, self.one(values)) for n in self.some(names, 0, 2))),
            add=tuple(sorted((n, self.one(values)) for n in self.some(names, 0, 2))),
        )

    def redirect(self) -> Redirect:
        where = self.random.random()
        return Redirect(
            status=self.one((301, 302, 303, 307, 308)),
            host=self.one(("moved.example", "moved.example:81")) if self.maybe(50) else None,
            path=self.one(("/moved", "/moved?z=1")) if where < 0.4 else None,
            prefix_rewrite=self.one(REWRITES) if 0.4 <= where < 0.6 else None,
            scheme=self.one(("http", "https")) if self.maybe(40) else None,
            port=self.one((80, 443, 8443)) if self.maybe(30) else None,
            strip_query=self.maybe(20),
        )

    def fault(self) -> Fault:
        abort = Abort(percent=self.one((0.0, 100.0)), **self.one(({"http_status": 418}, {"http_status": 503}, {"grpc_status": 14})))
        delay = Delay(duration=timedelta(milliseconds=1), percent=100.0)
        return Fault(abort=abort if self.maybe(80) else None, delay=delay if self.maybe(20) else None)

    def cors(self) -> Cors:
        allowed = [StringMatch(compare=Compare.EXACT, value=o) for o in self.some(ORIGINS, 0, 2)]
        if self.maybe(30):
            allowed.append(StringMatch(compare=Compare.REGEX, value="https?://[ab].*"))
        return Cors(allow_origins=tuple(allowed), allow_methods=("GET",), forward_unmatched_preflights=self.maybe(60))

    # ---- requests

    def request(self, table: RouteTable) -> Sent:
        routes = [r for v in table.virtual_hosts for r in v.routes]
        route = self.one(routes) if routes and self.maybe(80) else None
        host = self.host(table)
        path = self.path(route)
        method = self.method(route)
        headers = [("host", host), *self.headers(route)]
        if self.maybe(12 if self.tunnels else 1):
            return Sent(method="CONNECT", target=self.host(table), headers=headers)
        if path.startswith("/") and self.maybe(10) and host:
            path = f"{self.one(('http', 'http', 'https'))}://{self.host(table)}{path}"
        return Sent(method=method, target=path, headers=headers)

    def host(self, table: RouteTable) -> str:
        if self.maybe(40):
            return self.one(HOSTS)
        domain = self.one([d for v in table.virtual_hosts for d in v.domains] or ["x"])
        host = domain.replace("*", self.one(("a", "x", "x.y", "w")))
        if self.maybe(20):
            host = host.split(":")[0] + self.one((":80", ":8080", ":")) if not host.startswith("[") else host
        return host.upper() if self.maybe(10) else host

    def path(self, route: Route | None) -> str:
        if self.maybe(15):
            return self.one(ODD_PATHS)
        base = self.one(PATHS)
        if route and route.match.path and self.maybe(80):
            base = self.near(route.match.path)
        if route and route.match.query and self.maybe(70) and "?" not in base:
            return base + self.one([q for q in QUERIES if q])
        return base if "?" in base else base + self.one(QUERIES)

    def near(self, match: StringMatch) -> str:
        if match.compare is Compare.REGEX:
            found = [p for p in PATHS if re.fullmatch(match.value, p)]
            return self.one(found) if found else self.one(PATHS)
        tail = self.one(("", "", "", "/", "b", "/b", "/b/c"))
        return (match.value.swapcase() if self.maybe(15) else match.value) + tail

    def method(self, route: Route | None) -> str:
        wanted = [h.match.value for h in route.match.headers if h.name == ":method" and h.match] if route else []
        if wanted and self.maybe(70):
            return wanted[0]
        return self.one(METHODS) if self.maybe(30) else "GET"

    def headers(self, route: Route | None) -> list[tuple[str, str]]:
        made = [(self.one((h, h.upper())), self.one(VALUES)) for h in self.some(HEADERS, 0, 3)]
        for wanted in route.match.headers if route else ():
            if not wanted.name.startswith(":") and self.maybe(70):
                value = wanted.match.value if wanted.match and wanted.match.compare is not Compare.REGEX else self.one(VALUES)
                made.append((wanted.name, value))
        if self.maybe(10):
            made.append((self.one(HEADERS), self.one(VALUES)))
        if self.maybe(20):
            made.append(("Origin", self.one((*ORIGINS, "http://z.example", ""))))
            made.append(("Access-Control-Request-Method", self.one(("PUT", ""))))
        if self.maybe(5):
            made.append(("x-forwarded-proto", self.one(("https", "http", "HTTPS", "ftp"))))
        if self.maybe(4):
            made.append(("content-type", self.one(("application/grpc", "application/grpc+proto", "text/plain"))))
        if self.maybe(3):
            made += [("connection", "upgrade"), ("upgrade", self.one(("websocket", "WebSocket", "h2c", "foo")))]
        return made
