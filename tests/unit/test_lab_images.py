"""Which images the lab makes, from what, and when it leaves them alone."""

import re

import pytest
from aicluster_lab import images, registry
from aicluster_lab.errors import LabError
from tables import cases
from tree import ROOT, catalogue


def test_an_unknown_mode_is_refused_by_name():
    with pytest.raises(LabError, match="AICLUSTER_LAB_IMAGES is `fetch`; it must be one of pull, build"):
        images.choose_mode("fetch", lambda: True)


@pytest.mark.parametrize(("recipe", "pinned"), [
    ("full/ollama/Dockerfile", "ARG VERSION="),
    ("full/sonarqube/Dockerfile", "ARG VERSION="),
    ("images/ollama/go.mod", "require github.com/ollama/ollama v"),
])  # fmt: skip
def test_a_real_program_has_the_version_of_the_catalogue(recipe, pinned):
    [version] = re.findall(f"^{pinned}(.+)$", (ROOT / "lab" / recipe).read_text(), re.MULTILINE)
    assert f":{version}" in catalogue()[recipe.split("/")[1]]["image"]


@pytest.fixture
def recipe(tmp_path):
    folder = tmp_path / "lab" / "images" / "nginx"
    (folder / "conf").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM aicluster-lab/base\n")
    (folder / "conf" / "nginx.conf").write_text("events {}\n")
    (folder / "run.sh").write_text("exit\n")
    (folder / "run.sh").chmod(0o755)
    return folder


def test_the_hash_of_a_recipe_follows_content_name_mode_and_base(recipe):
    seen = [images.content_hash(recipe, "base 1"), images.content_hash(recipe, "base 2")]
    script = recipe / "start.sh"
    for change in (
        lambda: script.write_text("exit\n"),
        lambda: script.chmod(0o755),
        lambda: script.rename(recipe / "stop.sh"),
    ):
        change()
        seen.append(images.content_hash(recipe, "base 1"))
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("setting", ["0", "65536", "http", "-1"])
def test_a_port_that_is_none_is_refused(setting, monkeypatch):
    monkeypatch.setenv("AICLUSTER_LAB_REGISTRY_PORT", setting)
    with pytest.raises(LabError, match=f"AICLUSTER_LAB_REGISTRY_PORT is `{setting}`"):
        registry.published_port()


@cases(("listing", "expected"), {
    "the registry's own is up to date": ("mirror/kong:3 sha256:new", []),
    "another digest under the tag is outdated": ("mirror/kong:3 sha256:old", ["mirror/kong:3"]),
    "an older digest beside it is fine": ("mirror/kong:3 sha256:old\nmirror/kong:3 sha256:new", []),
})  # fmt: skip
def test_images_on_a_node_follow_the_registry(listing, expected):
    assert registry.outdated(listing, {"mirror/kong:3": "sha256:new"}) == expected
