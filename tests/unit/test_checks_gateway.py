"""The checks of Kong and nginx: whom they ask at the same time, and how long they wait for whom."""

import threading
import time
from typing import Any

import pytest
from a_kit import ScriptedKit, check_of, site
from healthy import OF_NANO, ai, kit_of

kong = check_of("kong")
STATE = 'aicluster_service_state{name="ollama",state="%s"} %s'
# A look five seconds after this check began, and one before; the node's clock shows 1000 now.
LATER, EARLIER = (f"aicluster_containers_seen_timestamp_seconds {at}" for at in (995, 985))


@pytest.mark.parametrize(("metrics", "state"), [
    pytest.param([STATE % ("healthy", 0), STATE % ("inactive", "1.0"), LATER], "inactive", id="inactive"),
    pytest.param([STATE % ("inactive", 1), EARLIER], "inactive", id="inactive already when this check began"),
    pytest.param([STATE % ("healthy", 1), STATE % ("inactive", 0), LATER], "healthy", id="active"),
    pytest.param([STATE % ("failed", 1), LATER], "failed", id="stopped"),
    pytest.param([STATE % ("healthy", 1), EARLIER], "", id="active when it last looked, which is long ago"),
    pytest.param([], "", id="nothing is known yet"),
    pytest.param(None, "unknown", id="the node says nothing"),
])  # fmt: skip
def test_a_node_reports_itself_whether_its_ollama_is_inactive(metrics, state):
    page = None if metrics is None else (200, "\n".join([*metrics, "node_time_seconds 1000.5"]))
    there = site("PI51", {}, [ai("ORIN0", "10.0.0.2")])
    kit = ScriptedKit(there, {"GET http://10.0.0.2:9100/metrics": page})
    assert kong.state_of(kit, "ollama", "10.0.0.2", time.monotonic() - 10) == state


def test_the_edge_is_asked_at_the_same_time_and_without_the_key():
    at_the_edge = threading.Event()

    def loading(_data: Any, _headers: Any) -> Any:
        assert at_the_edge.wait(5), "the edge was not asked"
        return OF_NANO

    def edge_chat(_data: Any, headers: Any) -> Any:
        assert "apikey" not in headers, "the key is for the gateway"
        at_the_edge.set()
        return OF_NANO

    changed = {"POST /api/v1/chat": loading, "POST http://10.0.0.6:8080/api/chat": edge_chat}
    seen = check_of("nginx").check(kit_of("nginx before an edge", changed))
    assert seen.endswith("; NANO would if no AI node did")
