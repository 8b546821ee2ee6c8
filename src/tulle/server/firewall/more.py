"""Rules for attacks that version 3 of the Core Rule Set does not know: each is as sure a sign as those of its first level."""

from __future__ import annotations

_EVERYWHERE = "REQUEST_COOKIES|REQUEST_COOKIES_NAMES|ARGS_NAMES|ARGS|XML:/*"
_HEADERS = "REQUEST_HEADERS|REQUEST_LINE"
_SCORE = "setvar:'tx.anomaly_score_pl1=+5',setvar:'tx.inbound_anomaly_score_pl1=+5'"
FIRST = 90_000
"""The numbers of these rules begin here; those below are for users."""


def _rule(number: int, variables: str, pattern: str, tag: str, message: str, transformations: str = "t:urlDecodeUni") -> str:
    then = f"id:{FIRST + number},phase:2,block,capture,t:none,{transformations},log,severity:CRITICAL,tag:'{tag}',tag:'OWASP_CRS'"
    return f'SecRule {variables} "@rx {pattern}" "{then},msg:\'{message}\',{_SCORE}"'


_QUERY_LANGUAGE = (
    r'SecRule ARGS:json.query "@rx ^(?!.*\$\()\s*(?:(?:query|mutation|subscription|fragment)\b|\{)[^;|&`<>]*$" '
    rf'"id:{FIRST + 50},phase:2,pass,nolog,t:none,ctl:ruleRemoveTargetById=932100;ARGS:json.query"'
)
"""GraphQL looks like a command to the set. Without what parts commands it is none."""
MORE = "\n".join(
    (
        _rule(
            1,
            _EVERYWHERE,
            r"(?i)\b(?:https?|gopher|dict|ldaps?|tftp|jar|netdoc)://(?:[^/?#@\s]*@)?(?:169\.254\.169\.254|metadata\.google\.internal|100\.100\.100\.200"
            r"|\[?(?:::1|::ffff:[0-9a-f.:]+|fd00:ec2::254)\]?|localhost|0(?:\.0\.0\.0)?|127(?:\.\d+){1,3}|0x7f[0-9a-f]+|2130706433|2852039166|017700000001)"
            r"(?:[:/?#]|$)",
            "attack-ssrf",
            "A URL of the server itself, or of the metadata of its machine",
        ),
        _rule(
            2,
            _EVERYWHERE,
            r"(?i)^\s*(?:gopher|dict|netdoc|jar|phar|expect|ogg|rar|ssh2|glob)://?[^\s]",
            "attack-ssrf",
            "A URL scheme for servers",
        ),
        _rule(
            3,
            _EVERYWHERE,
            r"(?:\{\{|\{%|<%=?|#\{|\$\{|\*\{|@\()\s*(?:[\d'\x22]+\s*[*+-]\s*[\d'\x22]+|[^}]{0,80}(?:__class__|__globals__|__mro__|__subclasses__"
            r"|\bconfig\b\s*(?:\.|\[|\}\})|getRuntime|freemarker|java\.lang|\bT\s*\(|_self\b|request\.application|cycler\.|joiner\.|lipsum\.|\bsystem\s*\(|popen))",
            "attack-ssti",
            "An expression for a template",
        ),
        _rule(
            4,
            "ARGS_NAMES",
            r"(?:\[|\.|^)\$(?:ne|eq|gte?|lte?|n?in|n?or|and|not|regex|where|exists|elemMatch|expr|function|type|mod|size|jsonSchema)(?:\]|\.|$)",
            "attack-injection-nosql",
            "An operator of a document database",
        ),
        _rule(
            5,
            "ARGS",
            r"""(?i)(?:\{\s*['"]?\$(?:ne|gte?|lte?|n?in|regex|where|exists|or)['"]?\s*:|['"]\s*(?:\|\||&&)\s*(?:this\.|1\s*==\s*1|'[^']*'\s*==\s*')"""
            r"|;\s*(?:return\s+(?:true|1)|while\s*\(\s*(?:true|1)))".replace('"', r"\x22"),
            "attack-injection-nosql",
            "A condition for a document database",
        ),
        _rule(
            6,
            f"{_EVERYWHERE}|{_HEADERS}",
            r"(?i)\$\{(?:[^}]{0,40}(?:\bjndi\b|j\}?n?\}?d?\}?i?\}?:(?:ldap|rmi|dns))|(?:\$\{)?(?:lower|upper|env|sys|date|::-|[a-z]*:[^}]{0,40}:-))",
            "attack-injection-java",
            "A look-up for a Java logger",
        ),
        _rule(
            7,
            "ARGS_NAMES",
            r"(?i)(?:^|[.\[])(?:__proto__|constructor[.\]\[]+prototype)(?:[.\]\[]|$)",
            "attack-injection-nodejs",
            "The prototype of objects",
        ),
        _rule(
            8,
            _EVERYWHERE,
            r"(?i)\(\s*(?:[|&!]\s*)?\(?\s*[a-z]+\s*=\s*\*?\s*\)\s*\(\s*[|&]|\*\)\s*\(\s*(?:[|&]|[a-z]+\s*=\s*\*)",
            "attack-ldap",
            "A filter for a directory",
        ),
        _rule(
            9,
            "REQUEST_BODY|XML:/*",
            r"(?i)<!(?:DOCTYPE|ENTITY)[^>]{0,200}(?:SYSTEM|PUBLIC|%)",
            "attack-xxe",
            "An external entity",
            "t:none",
        ),
        _rule(
            10,
            "REQUEST_HEADERS:X-Original-URL|REQUEST_HEADERS:X-Rewrite-URL",
            r".",
            "attack-protocol",
            "Another path than the one that was asked for",
        ),
        _rule(11, _EVERYWHERE, r"(?i)(?:^|[/\x5c])(?:WEB|META)-INF[/\x5c]", "attack-java", "The private parts of an application"),
        _rule(12, _EVERYWHERE, r"^(?:rO0AB[A-Za-z0-9+/]|\xac\xed\x00\x05)", "attack-java", "A serialised Java object"),
        _QUERY_LANGUAGE,
    )
)
