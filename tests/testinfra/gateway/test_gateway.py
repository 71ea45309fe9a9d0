"""The front door as a client on the LAN and an operator on the node see it."""

import json
import socket
from urllib.parse import urlsplit

import http_client
import pytest
import site_under_test as site

CHAT = "/api/v1/chat"
QUESTION = {"messages": [{"role": "user", "content": "hello"}], "stream": False}


def test_the_front_door_answers(gateway_url):
    assert http_client.get(f"{gateway_url}/healthz").status == 200


def test_the_gateway_is_ready(host, node):
    url = f"http://{node.address}:{node.port('kong', 'status')}/status/ready"
    assert host.run("curl -fsS -o /dev/null %s || wget -qO /dev/null %s", url, url).rc == 0


def test_the_gateway_counts_every_ai_node_as_healthy(host, node):
    admin = f"http://127.0.0.1:{node.port('kong', 'admin')}"
    listed = json.loads(host.check_output("curl -fsS %s/upstreams/ai-chat/health", admin))["data"]
    expected = {
        f"{ai.address}:{ai.port('ollama', 'api')}" for ai in site.running("ollama") if ai.entry["share"]
    }
    assert {target["target"] for target in listed} == expected
    assert {target["health"] for target in listed} == {"HEALTHY"}, listed


def test_the_admin_interface_is_not_on_the_network(node):
    with pytest.raises(OSError):
        http_client.get(f"http://{node.address}:{node.port('kong', 'admin')}/status")


def test_a_request_without_a_key_is_refused(gateway_url):
    assert http_client.post(f"{gateway_url}{CHAT}", QUESTION).status == 401


def test_a_request_with_a_wrong_key_is_refused(gateway_url):
    assert http_client.post(f"{gateway_url}{CHAT}", QUESTION, key="wrong").status == 401


def test_the_key_is_judged_before_the_body(gateway_url, api_key):
    assert http_client.post(f"{gateway_url}{CHAT}", [], key="wrong").status == 401
    assert http_client.post(f"{gateway_url}{CHAT}", [], key=api_key).status == 400


def test_the_body_of_a_client_without_a_key_is_not_waited_for(gateway_url):
    address = urlsplit(gateway_url)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {address.hostname}\r\nContent-Length: 10000000\r\n\r\n"
    with socket.create_connection((address.hostname, address.port or 80), timeout=10) as connection:
        connection.sendall(head.encode() + b'{"messages": [')
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")


def test_an_answer_names_the_node_that_gave_it(gateway_url, api_key):
    answer = http_client.post(f"{gateway_url}{CHAT}", QUESTION, key=api_key)
    assert answer.status == 200
    assert answer.headers["X-AI-Node"] in {ai.name for ai in site.running("ollama")}


def test_a_request_without_a_model_gets_the_alias_chat(gateway_url, api_key):
    answer = http_client.post(f"{gateway_url}{CHAT}", QUESTION, key=api_key)
    assert answer.json()["model"] in {"chat", "chat:latest"}


def test_requests_are_counted_in_redis(gateway_url, api_key):
    # Without Redis Kong lets requests pass uncounted, and without this header.
    def remaining() -> int:
        return int(
            http_client.post(f"{gateway_url}{CHAT}", QUESTION, key=api_key).headers["RateLimit-Remaining"]
        )

    first, second, third = remaining(), remaining(), remaining()
    assert second < first or third < second, "a new minute may have begun once, not twice"
