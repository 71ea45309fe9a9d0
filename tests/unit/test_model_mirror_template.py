"""What the mirror of models is given, and what its nginx lets through."""

import re

import pytest
from render import render_role

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
    configuration = render_role("model_mirror")["/opt/aicluster/model_mirror/conf/nginx.conf"]
    # The syntax of its locations is that of Python, as far as these go.
    patterns = re.findall(r'location ~ "(.+)" \{', configuration)
    assert patterns and not [pattern for pattern in patterns if re.search(pattern, path)]
