"""Chat through all of it: client -> PI51 -> the AI nodes, in declared parts, whatever fails."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import docker
import http_client
import pytest
import site_under_test as site
from docker.models.containers import Container
from load import QUESTION, Load, all_by, balanced, board, counts_of, paused

REQUESTS = 500
SLOW_S = 2.0
BACK_WITHIN_S = 30
NOTICED_WITHIN_S = 20
# Longer than the gateway takes to notice, so that what a client waits for in vain is its own.
PATIENCE_S = NOTICED_WITHIN_S + 5
CLIENTS = 4
ONLY_ON_AGX0 = "gemma3:12b"


@pytest.fixture(scope="module")
def chat(gateway_url, api_key) -> Callable[[], http_client.Answer]:
    return lambda: http_client.post(f"{gateway_url}/api/v1/chat", QUESTION, api_key, PATIENCE_S)


@pytest.fixture(autouse=True)
def back_to_normal(chat, gateway_url, api_key) -> Iterator[None]:
    """Each test finds both AI nodes in service, for each set of nodes: Kong probes those of each."""
    yield
    with Load(chat) as load:
        load.wait_until(balanced, window=20, limit_s=120)
    alone = QUESTION | {"model": ONLY_ON_AGX0}
    with Load(lambda: http_client.post(f"{gateway_url}/api/v1/chat", alone, api_key)) as load:
        load.wait_until(all_by("AGX0"), window=1, limit_s=BACK_WITHIN_S)


@pytest.fixture
def agx0() -> Iterator[site.Node]:
    node = site.node("AGX0")
    yield node
    site.shell(node, f"{site.COMPOSE} start ollama")


def test_500_requests_are_shared_as_declared_and_none_fails(chat, record_property):
    answers = [chat() for _ in range(REQUESTS)]
    record_property("answers by node", dict(counts_of(answers)))
    assert {answer.status for answer in answers} == {200}
    assert balanced(answers), counts_of(answers)


def test_every_model_of_the_list_answers_from_a_node_that_has_it(gateway_url, api_key):
    listed = http_client.get(f"{gateway_url}/api/tags", api_key).json()["models"]
    for name in [one["name"] for one in listed if "completion" in one["capabilities"]]:
        answer = http_client.post(f"{gateway_url}/api/chat", QUESTION | {"model": name}, api_key)
        assert (answer.status, bool(answer.headers["X-AI-Node"])) == (200, True), (name, answer.body)


def test_when_ollama_stops_on_agx0_nothing_fails_and_orin0_answers_and_all_comes_back(
    chat, agx0, record_property
):
    with Load(chat) as load:
        load.wait_until(balanced, window=20, limit_s=10)
        site.shell(agx0, f"{site.COMPOSE} stop ollama")
        stopped = time.monotonic()
        load.wait_until(all_by("ORIN0"), window=100, limit_s=BACK_WITHIN_S)
        after = load.good(since=stopped)
        assert load.failed() == []
        assert {answer.headers["X-AI-Node"] for answer in after} == {"ORIN0"}
        site.shell(agx0, f"{site.COMPOSE} start ollama")
        seconds = load.wait_until(balanced, window=20, limit_s=BACK_WITHIN_S)
        assert load.failed() == []
    record_property("seconds until balanced again", round(seconds, 1))


@contextmanager
def cut_off(box: Container) -> Iterator[None]:
    """A node without power: nobody takes the connection."""
    [(name, settings)] = box.attrs["NetworkSettings"]["Networks"].items()
    network = docker.from_env().networks.get(name)
    network.disconnect(box)
    try:
        yield
    finally:
        network.connect(box, ipv4_address=settings["IPAddress"])


@pytest.mark.parametrize(
    ("away", "longest_s", "fails"),
    [
        # A kernel that still acknowledges is not gone: what was sent there waits for the client's patience.
        pytest.param(paused, PATIENCE_S + SLOW_S, CLIENTS, id="hangs"),
        pytest.param(cut_off, NOTICED_WITHIN_S, 0, id="loses power", marks=pytest.mark.full),
    ],
)
def test_when_agx0_goes_away_the_gateway_soon_stops_asking_it(chat, record_property, away, longest_s, fails):
    box = board(site.node("AGX0"))
    with ExitStack() as stack:
        loads = [stack.enter_context(Load(chat)) for _ in range(CLIENTS)]
        for load in loads:
            load.wait_until(lambda answers: len(answers) == 20, window=20, limit_s=20)
        lost = time.monotonic()
        with away(box):
            for load in loads:
                load.wait_until(all_by("ORIN0"), window=20, limit_s=90)
    ended = [
        (t + took - lost, took) for load in loads for t, took in zip(load.began, load.took, strict=False)
    ]
    slow = [(end, took) for end, took in ended if took > SLOW_S]
    failed = [problem for load in loads for problem in load.failed()]
    told = {
        "requests": len(ended),
        "failed": len(failed),
        "slow": len(slow),
        "seconds until none is slow": round(max((end for end, _ in slow), default=0), 1),
    }
    for name, value in told.items():
        record_property(name, value)
    assert len(failed) <= fails, failed
    assert max(took for _, took in ended) < longest_s, slow
    late = [(end, took) for end, took in slow if end - took > NOTICED_WITHIN_S]
    assert len(late) <= len(ended) / 100, f"a busy machine has a slow moment, not many: {late}"
