"""PeerAuthentications: which of them holds for a port, whatever there is of them and in whatever order it comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from support.compiled import built, documents, instance, warnings
from tulle.compile import peers
from tulle.compile.kinds import age
from tulle.model.mesh import MeshSettings
from tulle.resources.security.peer_authentication import MtlsMode

POLICY = """---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{spec}}}
"""
MODES = ("UNSET", "DISABLE", "PERMISSIVE", "STRICT")
LABELS = {"app": "web", "version": "v1"}
SETTINGS = MeshSettings()


def policy(name: str, namespace: str = "default", mode: str = "", selector: str = "", ports: str = "") -> str:
    said = [f"mtls: {{mode: {mode}}}"] if mode else []
    said += [f"selector: {{matchLabels: {selector}}}"] if selector else []
    said += [f"portLevelMtls: {ports}"] if ports else []
    return POLICY.format(name=name, namespace=namespace, spec=", ".join(said))


def ruling(text: str, *, port: int = 80, namespace: str = "default") -> peers.Ruled:
    found = sorted(documents(text).values(), key=age) if text else []
    return peers.arrange(found, SETTINGS).posture(namespace, LABELS).port(port)


MESH, SPACE = policy("mesh", "istio-system", "STRICT"), policy("space", mode="DISABLE")
OWN = policy("own", mode="PERMISSIVE", selector="{app: web}")


def test_the_nearest_policy_that_says_something_holds() -> None:
    assert ruling("").mode is MtlsMode.PERMISSIVE
    assert ruling(MESH).mode is MtlsMode.STRICT
    assert ruling(MESH + SPACE).mode is MtlsMode.DISABLE
    assert ruling(MESH + SPACE + OWN).mode is MtlsMode.PERMISSIVE
    assert ruling(MESH + SPACE + OWN, namespace="elsewhere").mode is MtlsMode.STRICT
    assert ruling(MESH + policy("a") + policy("b", selector="{app: web}")).mode is MtlsMode.STRICT
    assert ruling(MESH + SPACE + policy("a", mode="STRICT", selector="{app: cart}")).mode is MtlsMode.DISABLE


def test_ports() -> None:
    own = policy("own", mode="STRICT", selector="{app: web}", ports="{81: {mode: DISABLE}, 82: {}}")
    assert [ruling(MESH + SPACE + own, port=number).mode for number in (80, 81, 82)] == [MtlsMode.STRICT, MtlsMode.DISABLE, MtlsMode.STRICT]
    silent = policy("own", selector="{app: web}", ports="{81: {mode: STRICT}}")
    assert [ruling(SPACE + silent, port=number).mode for number in (80, 81)] == [MtlsMode.DISABLE, MtlsMode.STRICT]
    assert str(ruling(SPACE + silent, port=81).source) == "PeerAuthentication/own spec.portLevelMtls.81"


def test_a_port_that_no_workload_there_has_is_told() -> None:
    text = policy("own", mode="STRICT", selector="{app: web}", ports="{80: {mode: DISABLE}, 8080: {mode: DISABLE}}")
    (found,) = warnings(built(text, instance("web", number=80, target=8080)), "PeerAuthentication/own")
    assert "spec.portLevelMtls.8080: has no effect: no service in namespace default has port 8080" in found
    assert warnings(built(text, instance("web", number=80, namespace="other")), "PeerAuthentication/own") == []


def test_the_oldest_of_equals_holds_and_the_others_are_told_so() -> None:
    text = policy("old", mode="STRICT") + policy("young", mode="DISABLE")
    assert ruling(text).mode is MtlsMode.STRICT
    (found,) = warnings(built(text), "PeerAuthentication/young")
    assert "not in force: PeerAuthentication old (rules.yaml:" in found
    assert warnings(built(text), "PeerAuthentication/old") == []


def test_a_selector_in_the_root_namespace_is_ignored() -> None:
    assert ruling(policy("a", "istio-system", "STRICT", "{app: web}"), namespace="istio-system").mode is MtlsMode.PERMISSIVE


one = st.builds(
    policy,
    st.uuids().map(lambda u: f"p{u.hex[:8]}"),
    st.sampled_from(("default", "other", "istio-system")),
    st.sampled_from(("", *MODES)),
    st.sampled_from(("", "{app: web}", "{app: web, version: v1}", "{app: cart}")),
)
several = st.lists(one, max_size=6, unique_by=lambda text: text.split("name: ")[1][:9])


@given(several, st.sampled_from(("default", "other", "istio-system")))
def test_what_holds_is_what_a_plain_reading_says(texts: list[str], namespace: str) -> None:
    resources = sorted(documents("".join(texts)).values(), key=age) if texts else []

    def first(space: str, *, chosen: bool) -> MtlsMode:
        for resource in resources:
            labels = resource.spec.selector.match_labels if resource.spec.selector else {}
            fits = bool(labels) == chosen and all(LABELS.get(key) == value for key, value in labels.items())
            if resource.key.namespace == space and fits:
                return resource.spec.mtls.mode
        return MtlsMode.UNSET

    own = first(namespace, chosen=True) if namespace != "istio-system" else MtlsMode.UNSET
    whole = first(namespace, chosen=False) if namespace != "istio-system" else MtlsMode.UNSET
    levels = (own, whole, first("istio-system", chosen=False), MtlsMode.PERMISSIVE)
    expected = next(mode for mode in levels if mode is not MtlsMode.UNSET)
    found = peers.arrange(resources, SETTINGS)
    assert found.posture(namespace, LABELS).port(80).mode is expected
    assert found.takes_mtls(namespace, LABELS, 80) is (expected is not MtlsMode.DISABLE)


@given(several)
def test_policies_for_others_change_nothing(texts: list[str]) -> None:
    text = "".join(texts)
    assert (
        ruling(text).mode is ruling(text + policy("zzz", "elsewhere", "STRICT") + policy("zzzz", mode="DISABLE", selector="{app: no}")).mode
    )


@given(several, st.sampled_from(("default", "other", "istio-system")))
def test_without_identities_nobody_speaks_mutual_tls_and_strict_stays_strict(texts: list[str], namespace: str) -> None:
    resources = sorted(documents("".join(texts)).values(), key=age) if texts else []
    usual = peers.arrange(resources, SETTINGS).posture(namespace, LABELS).port(80).mode
    found = peers.arrange(resources, MeshSettings(mutual_tls=False))
    assert not found.takes_mtls(namespace, LABELS, 80)
    assert found.posture(namespace, LABELS).port(80).mode is (MtlsMode.STRICT if usual is MtlsMode.STRICT else MtlsMode.DISABLE)
