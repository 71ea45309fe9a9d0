"""What a node's container is made of: a board's memory, and as many rights as the host can give."""

import pytest
from aicluster_lab import nodes

ALL = (1 << len(nodes.CAPABILITIES)) - 1
LAST = len(nodes.CAPABILITIES) - 1


@pytest.mark.parametrize(("bounding_set", "last", "expected"), [
    pytest.param(ALL, LAST, (), id="a full machine lacks nothing"),
    pytest.param(ALL & ~(1 << 24), LAST, ("SYS_RESOURCE",), id="a cleared bit is a missing capability"),
    pytest.param((1 << 38) - 1, 37, (), id="an older kernel does not lack what it does not know"),
    pytest.param(ALL, LAST + 1, (), id="a newer kernel's unknown capabilities are not asked for"),
])  # fmt: skip
def test_missing_capabilities(bounding_set, last, expected):
    assert nodes.missing_capabilities(bounding_set, last) == expected
