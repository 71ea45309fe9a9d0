"""What containers write is found in the store under their names, from every node that has some."""

import json
import shlex
import time

import pytest
import site_under_test as site

WITHIN_S = 60
SENDERS = [one for one in site.looked_at() if one.containers]


def stored(host, node, query):
    """Lines of a query, each a dict of its fields."""
    url = f"http://{node.address}:{node.port('victorialogs', 'api')}/select/logsql/query"
    data = shlex.quote(f"query={query}")
    answer = host.check_output(f"curl -fsS --data-urlencode {data} --data limit=1 {url}")
    return [json.loads(line) for line in answer.splitlines()]


@pytest.mark.parametrize("sender", SENDERS, ids=lambda one: one.name)
def test_a_containers_lines_are_found_by_its_name(host, node, sender):
    # Whoever wrote last: a line that is older than the store's data is rightly not there.
    newest = site.shell(sender, "journalctl _COMM=dockerd --reverse --lines 1000 --output json")
    entries = [json.loads(line) for line in newest.splitlines()]
    name = next(entry["CONTAINER_NAME"] for entry in entries if "CONTAINER_NAME" in entry)
    query = f'_time:1d CONTAINER_NAME:="{name}" node:="{sender.name}"'
    end = time.monotonic() + WITHIN_S
    while not (lines := stored(host, node, query)) and time.monotonic() < end:
        time.sleep(2)
    assert lines, f"{name} of {sender.name} has written lines and none is stored"
    assert "_CMDLINE" not in lines[0], "bookkeeping of the journal is stored"
