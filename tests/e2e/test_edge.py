"""When no AI node answers the edge does, and says so; a key that nobody looked at opens nothing."""

import time
from collections.abc import Iterator

import http_client
import pytest
import site_under_test as site

pytestmark = pytest.mark.usefixtures("without_ai_nodes")
EDGE = "NANO"
BACK_WITHIN_S = 60


def question(text: str) -> dict[str, object]:
    """A question nobody asked before: the edge answers repeated ones from its cache."""
    content = f"{text} {time.monotonic_ns()}"
    return {"messages": [{"role": "user", "content": content}], "stream": False}


@pytest.fixture(scope="module")
def without_ai_nodes(gateway_url, api_key) -> Iterator[None]:
    balanced = [node for node in site.running("ollama") if node.entry["share"]]
    with site.stopped("ollama", *balanced):
        yield

    def is_back() -> bool:
        answer = http_client.post(f"{gateway_url}/api/v1/chat", question("Back?"), key=api_key)
        return answer.status == 200 and "X-AI-Fallback" not in answer.headers

    site.wait_until(is_back, BACK_WITHIN_S, "no AI node answers")


@pytest.mark.parametrize("path", ["/api/v1/chat", "/api/v1/code", "/v1/chat/completions"])
def test_the_edge_answers_and_says_so(gateway_url, api_key, path):
    answer = http_client.post(f"{gateway_url}{path}", question("Hello"), key=api_key)
    assert answer.status == 200, answer.body
    assert (answer.headers["X-AI-Node"], answer.headers["X-AI-Fallback"]) == (EDGE, EDGE)


def test_a_model_that_the_edge_has_not_is_said_to_be_away_and_the_lists_stay(gateway_url, api_key):
    asked = question("Hello") | {"model": "gemma3:12b"}
    answer = http_client.post(f"{gateway_url}/v1/chat/completions", asked, key=api_key)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert '"gemma3:12b" answers (AGX0)' in answer.json()["error"]["message"]
    listed = http_client.get(f"{gateway_url}/v1/models", key=api_key).json()["data"]
    assert {"chat", "gemma3:12b"} <= {model["id"] for model in listed}


@pytest.mark.parametrize("key", [None, "wrong"])
def test_nobody_without_a_key_gets_to_the_edge(gateway_url, key):
    answer = http_client.post(f"{gateway_url}/api/v1/chat", question("Hello"), key=key)
    assert answer.status == 401
    assert "X-AI-Fallback" not in answer.headers


def test_without_the_gateway_behind_nginx_nobody_gets_to_the_edge(gateway_url, api_key):
    with site.stopped("kong", *site.running("kong")):
        answer = http_client.post(f"{gateway_url}/api/v1/chat", question("Hello"), key=api_key)
    assert answer.status == 503
    assert "X-AI-Fallback" not in answer.headers
    back = f"{gateway_url}/healthz"
    site.wait_until(lambda: http_client.get(back).status == 200, BACK_WITHIN_S, "Kong is not back")
