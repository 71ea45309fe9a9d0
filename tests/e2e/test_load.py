"""The gateway under load, for `make test-full`: shares, five minutes of use, its own cost, and many faults.

Its figures are printed and kept in the report; the two faults of every test run are in test_chat.py.
"""

import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import http_client
import pictures
import pytest
import site_under_test as site
from http_client import Answer
from load import QUESTION, Load, Outcome, balanced, board, counts_of, failures, off_the_share, paused
from tables import cases

pytestmark = pytest.mark.full
USERS = 15
PER_MINUTE: dict[str, float] = {"chat": 50, "code": 20, "image": 4}
MINUTES = 5
SETTLED_WITHIN_S = 120
FIRST = max(site.running("ollama"), key=lambda node: node.entry["share"] or 0)
[KONG] = [node for node in site.running("kong") if "nginx" in node.services]


@pytest.fixture(scope="module")
def chat(gateway_url, api_key) -> Callable[[], Answer]:
    return lambda: http_client.post(f"{gateway_url}/api/v1/chat", QUESTION, api_key, timeout_s=30)


def begin_a_minute() -> None:
    """Wait until the minute begins in which the limit of the key counts anew."""
    time.sleep(60 - time.time() % 60)


@pytest.fixture(autouse=True)
def calm(chat) -> Iterator[None]:
    """Every test leaves all AI nodes in service."""
    yield
    with Load(chat) as load:
        load.wait_until(balanced, window=20, limit_s=SETTLED_WITHIN_S)


@cases(("requests", "clients", "points"), {
    "5,000 requests one after the other": (5000, 1, 0.2),
    "2,500 requests of 15 clients": (2500, USERS, 1),
})  # fmt: skip
def test_requests_are_shared_as_declared(chat, record_property, requests, clients, points):
    begin_a_minute()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda _: chat(), range(requests)))
    off = off_the_share(answers)
    record_property("points off the declared share", off)
    assert Counter(answer.status for answer in answers) == {200: requests}
    assert max(map(abs, off.values())) <= points, off


@cases(("declared", "slots"), {"79 to 21": ((79, 21), (15, 4)), "99 to 1": ((99, 1), (19, 1))})
def test_uneven_shares_are_kept_as_far_as_a_wheel_of_20_slots_can(chat, record_property, declared, slots):
    names = [FIRST.name, *(node.name for node in site.running("ollama") if node.entry["share"] == 20)]
    shares = {node.name: 0 for node in site.running("ollama")} | dict(zip(names, declared, strict=True))
    share = f"{{{{ {shares}.get(node_name) }}}}"
    try:
        site.run_site("--limit", KONG.address, "-e", json.dumps({"node_ai_share": share})).succeeded()
        begin_a_minute()
        counts = counts_of([chat() for _ in range(20 * sum(slots))])
    finally:
        site.run_site("--limit", KONG.address).succeeded()
    record_property("answers by node", dict(counts))
    assert counts == {name: 20 * slot for name, slot in zip(names, slots, strict=True)}


def models_on(node: site.Node) -> set[str]:
    declared = {one["name"] for one in site.variable(node, "ollama_models")}
    return declared | set(site.variable(node, "ollama_aliases | list"))


@pytest.mark.parametrize("away", [(), (FIRST,)], ids=["all nodes are there", "the first node is away"])
def test_every_model_answers_or_is_said_at_once_to_be_away(gateway_url, api_key, record_property, away):
    listed = http_client.get(f"{gateway_url}/api/tags", api_key).json()["models"]
    names = [one["name"].removesuffix(":latest") for one in listed if "completion" in one["capabilities"]]
    served = set().union(*(models_on(node) for node in site.running("ollama") if node not in away))
    served |= {one["name"] for one in site.variable(KONG, "kong_models") if "substitute" in one}
    begin_a_minute()
    with site.stopped("ollama", *away):
        for name in names:
            question = QUESTION | {"model": name}
            answers = [http_client.post(f"{gateway_url}/api/chat", question, api_key) for _ in range(20)]
            statuses = {answer.status for answer in answers}
            assert statuses == {200 if name in served else 503}, (name, answers[-1])
            assert name in served or max(answer.seconds for answer in answers) < 1, name
    record_property("models", {"asked": len(names), "served": len(served.intersection(names))})


@pytest.fixture
def image_profile(gateway_url: str, api_key: str) -> Iterator[None]:
    """The node that can draw does so, and the gateway knows; afterwards it is in its own profile again."""
    [node] = [node for node in site.nodes() if node.entry["profiles"]]
    switch = ("playbooks/profile.yml", "--limit", node.address, "-e")
    site.run_playbook(*switch, "to=image").succeeded()
    pictures.wait_for_comfyui(f"{gateway_url}/api/v1/image", api_key)
    yield
    site.run_playbook(*switch, f"to={node.entry['profile']}").succeeded()


def used(url: str, key: str, per_minute: dict[str, float], seconds: float) -> dict[str, list[Outcome]]:
    """Return the answers to requests that come evenly spaced, from as many clients as there are users."""
    bodies: dict[str, Any] = {
        "chat": QUESTION, "code": QUESTION | {"model": "code"}, "image": {"prompt": pictures.graph("load")},
    }  # fmt: skip
    due = sorted(
        (number * 60 / rate, kind)
        for kind, rate in per_minute.items()
        for number in range(int(seconds * rate / 60))
    )
    began = time.monotonic()

    def ask(at: float, kind: str) -> tuple[str, Outcome]:
        time.sleep(max(0.0, began + at - time.monotonic()))
        try:
            return kind, http_client.post(f"{url}/api/v1/{kind}", bodies[kind], key)
        except OSError as error:
            return kind, error

    with ThreadPoolExecutor(USERS) as users:
        answers = list(users.map(lambda one: ask(*one), due))
    return {kind: [answer for which, answer in answers if which == kind] for kind in per_minute}


@pytest.mark.usefixtures("image_profile")
def test_five_minutes_of_15_users_without_an_error_and_then_the_rate_at_which_errors_begin(
    gateway_url, api_key, record_property
):
    answers = used(gateway_url, api_key, PER_MINUTE, 60 * MINUTES)
    record_property("requests", {kind: len(found) for kind, found in answers.items()})
    assert {kind: failures(found) for kind, found in answers.items()} == {kind: [] for kind in PER_MINUTE}
    times = sorted(one.seconds for one in answers["chat"] if isinstance(one, Answer))
    record_property("chat p50 and p99 in seconds", [round(times[len(times) * p // 100], 3) for p in (50, 99)])
    # Requests are sent when they are due, by as many clients; what these cannot send any more is the end.
    for factor in (8, 16, 32, 64, 128):
        rates = {kind: rate * factor for kind, rate in PER_MINUTE.items() if kind != "image"}
        began = time.monotonic()
        found = [one for kind in used(gateway_url, api_key, rates, 10).values() for one in kind]
        late = time.monotonic() - began - 10
        record_property(
            f"{sum(rates.values())} per minute", f"{len(failures(found))} failed, {late:.1f} s late"
        )
        if failures(found) or late > 5:
            break


def test_what_the_gateway_adds_to_a_direct_request(gateway_url, api_key, record_property):
    port = FIRST.port("ollama", "api")
    direct = f"http://{FIRST.address}:{port}/api/chat"
    named = f"{gateway_url}/api/v1/chat"
    took: dict[str, list[float]] = {"direct": [], "gateway": []}
    first: dict[str, list[float]] = {"direct": [], "gateway": []}
    stream = QUESTION | {"stream": True}
    with site.opened(FIRST, port):
        while len(took["direct"]) < 300 or len(took["gateway"]) < 300:
            took["direct"].append(http_client.post(direct, QUESTION).seconds)
            answer = http_client.post(named, QUESTION, api_key)
            if answer.headers["X-AI-Node"] == FIRST.name:
                took["gateway"].append(answer.seconds)
        for _ in range(100):
            first["direct"].append(http_client.post_stream(direct, stream, "")[0][0])
            first["gateway"].append(http_client.post_stream(named, stream, api_key)[0][0])
    for name, seconds in (("request", took), ("first token", first)):
        for p in (50, 99):
            ms = {
                way: round(1000 * statistics.quantiles(found, n=100)[p - 1], 1)
                for way, found in seconds.items()
            }
            record_property(f"{name} p{p} in ms", ms)
    added = statistics.median(took["gateway"]) - statistics.median(took["direct"])
    assert added < 0.1, f"the gateway adds {added:.3f} s"


Fault = Callable[[], AbstractContextManager[None]]


@contextmanager
def slow() -> Iterator[None]:
    """A node with a tenth of a processor."""
    box = board(FIRST)
    box.update(cpu_period=100_000, cpu_quota=10_000)
    try:
        yield
    finally:
        box.update(cpu_quota=-1)


@contextmanager
def again_and_again(node: site.Node, command: str, pause_s: float) -> Iterator[None]:
    """A command repeated as long as the fault lasts."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(pause_s):
            site.shell(node, command)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


# Asks for each model of a list at once; prints the statuses.
CROWD = """printf '%s\\n' {models} | xargs -P 99 -I MODEL curl --silent --output /dev/null \\
  --write-out '%{{http_code}} ' --data '{{"model": "MODEL", "prompt": "x", "stream": false}}' {url}"""


@contextmanager
def busy() -> Iterator[None]:
    """The first node has a queue of one place, and somebody who asks for all its models at once."""
    limit = ("--limit", FIRST.address)
    models = " ".join(one["name"] for one in site.variable(FIRST, "ollama_models"))
    url = f"http://{FIRST.address}:{FIRST.port('ollama', 'api')}/api/generate"
    crowd = CROWD.format(models=models, url=url)
    try:
        site.run_site(*limit, "-e", json.dumps({"ollama_max_queue": 1})).succeeded()
        assert "503" in site.shell(FIRST, crowd)
        with again_and_again(FIRST, crowd, 0):
            yield
    finally:
        site.run_site(*limit).succeeded()


FAULTS: dict[str, tuple[Fault, float]] = {
    "Ollama of the first node is killed": (lambda: site.stopped("ollama", FIRST, verb="kill"), 10),
    # Ollama answers 500, and what has begun ends without its last line.
    "its models die again and again": (
        lambda: again_and_again(FIRST, "pkill -9 -f '[l]lama-server'; :", 0.3), 20,
    ),
    "its queue is full: it answers 503": (busy, 20),
    "it has a tenth of a processor": (slow, 20),
    "Redis is away": (lambda: site.stopped("redis", site.running("redis")[0]), 10),
    "the node of the database hangs": (lambda: paused(board(site.running("postgres")[0])), 20),
    "Kong reloads twenty times": (
        lambda: again_and_again(KONG, f"{site.COMPOSE} exec -T kong kong reload", 0.5), 30,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_under_load_fails_no_request_that_another_node_can_answer(chat, record_property, name):
    fault, seconds = FAULTS[name]
    begin_a_minute()
    with ExitStack() as stack:
        loads = [stack.enter_context(Load(chat)) for _ in range(4)]
        with fault():
            time.sleep(seconds)
        time.sleep(5)
    answers = [answer for load in loads for answer in load.answers]
    failed = [problem for load in loads for problem in load.failed()]
    record_property("requests", len(answers))
    record_property("failed", len(failed))
    record_property("longest in seconds", round(max(took for load in loads for took in load.took), 1))
    assert len(answers) > 20
    assert failed == []


def test_20_large_requests_at_once_are_answered_while_small_ones_go_on(
    gateway_url, api_key, chat, record_property
):
    """The gateway takes four at a time and tells the others when to come again."""
    body = QUESTION | {"note": "x" * (site.variable(KONG, "site_body_limit_mb") - 1) * 2**20}
    state = "docker inspect --format '{{.Id}} {{.State.StartedAt}} {{.RestartCount}}' $(docker ps -q)"
    before, refused = site.shell(KONG, state), Counter[int]()

    def ask() -> Answer:
        for _ in range(20):
            answer = http_client.post(f"{gateway_url}/api/v1/chat", body, api_key)
            if answer.status == 200:
                break
            refused[answer.status] += 1
            time.sleep(int(answer.headers["Retry-After"]))
        return answer

    with Load(chat) as small, ThreadPoolExecutor(20) as clients:
        answers = [one.result() for one in [clients.submit(ask) for _ in range(20)]]
    record_property("told to come again", dict(refused))
    assert {answer.status for answer in answers} == {200}
    assert set(refused) <= {503}
    assert small.failed() == []
    assert site.shell(KONG, state) == before
