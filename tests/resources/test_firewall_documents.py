"""The kind Firewall: what is read, and what is said of mistakes."""

from __future__ import annotations

import pytest

from support.reading import document, good, spec_of, wrong
from tulle.compile.walls import firewall
from tulle.model.firewall import Bodies, Exclusion
from tulle.resources.security.firewall import LongBodies, Mode

TULLE = "tulle.dev/v1"
ALL = """
targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: cart}]
mode: DETECT
paranoiaLevel: 2
detectionLevel: 3
anomalyThresholds: {requests: 10, answers: 8}
excludedRules: [942100, 942100]
exclusions:
- {paths: [/static/*, "*.css"]}
- {parameters: [comment], headers: [X-Note], cookies: [note], tags: [attack-xss], rules: [1]}
contentTypes: [text/plain]
rules: |
  # only these
  SecRule REQUEST_HEADERS:X-Team "@streq red" \\
    "id:7,phase:1,deny,status:403,log"
  SecAction "id:8,phase:1,pass,nolog"
maxBodyBytes: 100
longBodies: PASS
answers: {maxBodyBytes: 1000, longBodies: REFUSE}
required: true
"""


def test_all_fields() -> None:
    spec = spec_of("Firewall", ALL, api_version=TULLE)
    assert (spec.mode, spec.detection_level, spec.targets[0].section, spec.long_bodies) == (
        Mode.DETECT,
        3,
        "cart",
        LongBodies.PASS,
    )
    made = firewall(good(document("Firewall", ALL, api_version=TULLE)))
    assert (made.paranoia, made.told_paranoia, made.thresholds, made.excluded) == (2, 3, (10, 8), (942100,))
    assert made.exclusions == (
        Exclusion(paths=("/static/*", "*.css")),
        Exclusion(parameters=("comment",), headers=("x-note",), cookies=("note",), tags=("attack-xss",), rules=(1,)),
    )
    assert (made.requests, made.answers) == (Bodies(most=100, lenient=True), Bodies(most=1000))
    assert made.id.startswith("default/a@")


OUTSIDE = "is not allowed here: rules must not reach out of the request"
ONLY = "is not allowed here: only SecRule, SecAction, SecMarker"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("paranoiaLevel: 5", "spec.paranoiaLevel: must be between 1 and 4, not 5"),
        ("paranoiaLevel: 3\ndetectionLevel: 2", "spec.detectionLevel: must not be below paranoiaLevel, which is 3"),
        ("exclusions: [{}]", "spec.exclusions[0]: set at least one of paths, rules, tags, parameters, headers, cookies"),
        ("exclusions: [{paths: ['/a\"']}]",
         "spec.exclusions[0].paths[0]: must be a path with * at one end at most, without quotes, blanks and backslashes, not '/a\"'"),
        ("exclusions: [{paths: ['*a*']}]",
         "spec.exclusions[0].paths[0]: must be a path with * at one end at most, without quotes, blanks and backslashes, not '*a*'"),
        ("exclusions: [{parameters: ['a,ctl:ruleEngine=Off']}]",
         "spec.exclusions[0].parameters[0]: must be the name of a parameter, not 'a,ctl:ruleEngine=Off'"),
        ("exclusions: [{headers: ['a b']}]", "spec.exclusions[0].headers[0]: must be a header name, not 'a b'"),
        ("contentTypes: [Text/Plain]",
         "spec.contentTypes[0]: must be a media type such as text/plain, in small letters, not 'Text/Plain'"),
        ("rules: SecRuleEngine Off", f"spec.rules: 'SecRuleEngine' {ONLY}"),
        ("rules: Include /etc/passwd", f"spec.rules: 'Include' {ONLY}"),
        ("rules: 'SecAction \"id:1,pass\" SecAuditLog /tmp/x'", f"spec.rules: 'SecAuditLog' {ONLY}"),
        ("rules: SecMarker X !Include /etc/passwd", f"spec.rules: '!Include' {ONLY}"),
        ("rules: 0Include /etc/passwd", f"spec.rules: '0Include' {ONLY}"),
        ("rules: |\n  # more \\\n  Include /etc/passwd", "spec.rules: line 1: nothing goes on behind this backslash"),
        ('rules: |\n  SecMarker A\n  SecAction "id:1\n  Include /etc/passwd\n  "',
         "spec.rules: line 2: SecAction must have a line of its own, and each text in double quotes; a line goes on behind a backslash"),
        ('rules: SecMarker "\\" Include /etc/passwd"',
         "spec.rules: line 1: SecMarker must have a line of its own, and each text in double quotes; a line goes on behind a backslash"),
        ('rules: "SecMarker A\\x01Include /etc/passwd"', "spec.rules: must not contain control characters"),
        ("rules: 'SecRule ENV:TULLE_TOKEN \"@rx a\" \"id:1\"'", f"spec.rules: 'ENV' {OUTSIDE}"),
        ("rules: 'SecAction \"id:1,log,msg:%{ENV.TULLE_TOKEN}\"'", f"spec.rules: '%{{ENV' {OUTSIDE}"),
        ("rules: 'SecRule ARGS \"@rx a\" \"id:1,exec:/bin/x\"'", f"spec.rules: 'exec:' {OUTSIDE}"),
        ("rules: 'SecRule ARGS \"@inspectFile /bin/x\" \"id:1\"'", f"spec.rules: '@inspectFile' {OUTSIDE}"),
        ('rules: |\n  SecRule ARGS "@inspect\\\n  File /bin/x" "id:1"', f"spec.rules: '@inspectFile' {OUTSIDE}"),
        ("rules: 'SecAction \"id:942100,phase:1,pass\"'",
         "spec.rules: id 942100 must be below 90000: the others are for the set and for Tulle"),
        ("answers: {maxBodyBytes: 0}", "spec.answers.maxBodyBytes: must be between 1 and 8388608, not 0"),
        ("maxBodyBytes: 999999999", "spec.maxBodyBytes: must be between 1 and 8388608, not 999999999"),
        ("longBodies: KEEP", "spec.longBodies: must be one of REFUSE, PASS, not 'KEEP'"),
    ],
)  # fmt: skip
def test_mistakes(spec: str, said: str) -> None:
    (found,) = wrong("Firewall", spec, api_version=TULLE)
    assert found.endswith(said)


def test_rules_may_be_about_whatever_a_request_has() -> None:
    spec = """
rules: |
  SecRule ARGS:section|!ARGS:/^include_.*/|&REQUEST_HEADERS:Sec-Fetch-Mode "!@rx (?:include|\\"sec\\s+)" \\
    "id:7,phase:2,deny,status:403,\\
    msg:'An include of %{ARGS.secret}'"
  SecMarker END_OF-OWN
"""
    assert spec_of("Firewall", spec, api_version=TULLE).rules.count("include") == 3
