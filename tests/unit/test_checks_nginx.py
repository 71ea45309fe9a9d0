"""The check of nginx on the gateway asks the edge, too, while an AI node may still load its model."""

import threading
from typing import Any

from a_kit import check_of
from healthy import OF_NANO, kit_of


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
