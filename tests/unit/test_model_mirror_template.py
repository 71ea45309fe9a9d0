"""What the mirror of models is given, and what its nginx lets through."""

import re

import pytest
from render import render_role

CONFIGURATION = "/opt/aicluster/model_mirror/conf/nginx.conf"


def patterns() -> list[re.Pattern[str]]:
    """The regular expressions of its locations, whose syntax nginx and Python share as far as these go."""
    found = re.findall(r'location ~ "(.+)" \{', render_role("model_mirror")[CONFIGURATION])
    return [re.compile(pattern) for pattern in found]


DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize("path", [
    pytest.param("/id_ed25519", id="the private key"),
    pytest.param("/v2/library/../manifests/latest", id="a way out"),
    pytest.param("/v2/library/.hidden/manifests/latest", id="hidden files"),
    pytest.param("/v2/library/phi3/manifests/", id="a list of tags"),
    pytest.param(f"/v2/library/phi3/blobs/{DIGEST}-partial", id="a layer that is not whole"),
    pytest.param("/v2/library/phi3/blobs/sha256:../../id_ed25519", id="a digest that is none"),
    pytest.param("/v2/a/b/c/manifests/latest", id="more folders than a name has"),
])  # fmt: skip
def test_nothing_else_is_served(path):
    assert not [1 for pattern in patterns() if pattern.search(path)]
