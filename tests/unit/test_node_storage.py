"""Where the engine of a node keeps its data, and on which disks."""

import pytest
from aicluster_node import storage, system
from node_half import inspect

pytestmark = pytest.mark.usefixtures("own_node")
OVERLAYFS = {"Driver": "overlayfs", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
MANAGED = {**OVERLAYFS, "Containerd": {"Address": "/var/run/docker/containerd/containerd.sock"}}
OVERLAY2 = {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]}
ROOT_FIRST = 'version = 2\n  root = "/data/containerd"\n[plugins]\nroot = "/no"\n'


@pytest.mark.parametrize(("path", "mount"), [
    pytest.param("data/docker", "/data", id="a folder on a disk of its own"),
    pytest.param("link/docker", "/data", id="a folder behind a link to another disk"),
    pytest.param("later/docker", "/data", id="a folder behind a link to what is not made yet"),
    pytest.param("docker", "", id="a folder on the disk around it"),
])  # fmt: skip
def test_a_disk_is_the_one_that_links_lead_to_also_of_a_folder_to_come(tmp_path, monkeypatch, path, mount):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "later").symlink_to(tmp_path / "data" / "later")
    mounts = [str(tmp_path), str(tmp_path / "data")]
    monkeypatch.setattr(storage.os.path, "ismount", mounts.__contains__)
    found = storage.disk(str(tmp_path / path), True)
    assert (found["path"], found["mount"]) == (str(tmp_path / path), f"{tmp_path}{mount}")
    assert found["device"] == tmp_path.stat().st_dev
    assert 0 < found["free_mb"] <= found["size_mb"]


@pytest.mark.parametrize(("info", "toml", "path"), [
    pytest.param(OVERLAY2, "", "/docker/overlay2", id="the engine's own store is in its folder"),
    pytest.param(OVERLAYFS, "", "/var/lib/containerd", id="containerd's store is in containerd's folder"),
    pytest.param(OVERLAYFS, ROOT_FIRST, "/data/containerd", id="which its own file may move"),
    pytest.param(OVERLAYFS, "[plugins]\nroot = '/no'\n", "/var/lib/containerd", id="but not a plugin's part"),
    pytest.param(MANAGED, "", "/docker/containerd", id="the engine keeps data of a containerd it starts"),
    pytest.param({}, "", "/var/lib/containerd", id="an engine that does not answer may use either"),
])  # fmt: skip
def test_images_are_where_the_engine_says(tmp_path, info, toml, path):
    (tmp_path / "containerd.toml").write_text(toml)
    assert storage.image_root(info, "/docker") == path


@pytest.mark.parametrize(("volumes", "images", "more"), [
    (3, 1, [("/d/volumes", True)]),
    (2, 4, [("/var/lib/containerd", False)]),
], ids=["volumes", "images"])  # fmt: skip
def test_images_and_volumes_are_named_where_they_have_a_disk_of_their_own(monkeypatch, volumes, images, more):
    devices = {"/": 1, system.STACK_ROOT: 1, "/d": 2, "/d/volumes": volumes, "/var/lib/containerd": images}
    monkeypatch.setattr(
        storage, "disk", lambda path, docker: {"path": path, "device": devices[path], "docker": docker}
    )
    found = [(one["path"], one["docker"]) for one in storage.disks({"DockerRootDir": "/d", **OVERLAYFS})]
    assert found == [("/", False), (system.STACK_ROOT, False), ("/d", True), *more]


PLAIN = {"DockerRootDir": "/d/1.2", **OVERLAY2, "SecurityOptions": ["name=seccomp"]}
REMAPPED = {"DockerRootDir": "/d/231072.231072", **OVERLAY2, "SecurityOptions": ["name=userns"]}
CONTAINERD = {"DockerRootDir": "/d", **OVERLAYFS, "SecurityOptions": None}


@pytest.mark.parametrize(("info", "text", "root", "kept"), [
    pytest.param(PLAIN, "{}", "/d/1.2", ("overlay2", False, False), id="with its own store"),
    pytest.param(REMAPPED, "{}", "/d", ("overlay2", False, True), id="in a folder of remapped users"),
    pytest.param(CONTAINERD, "{}", "/d", ("overlayfs", True, False), id="in containerd's store"),
    pytest.param({}, '{"data-root": "/e"}', "/e", (None, None, None), id="where its file says, if silent"),
    pytest.param({}, '{"graph": "/e"}', "/e", (None, None, None), id="in a folder of the old name"),
    pytest.param({}, "# broken", "docker", (None, None, None), id="in the default folder, by a broken file"),
])  # fmt: skip
def test_an_engine_keeps_its_data(tmp_path, info, text, root, kept):
    (tmp_path / "daemon.json").write_text(text)
    found = storage.store(info, text)
    assert found["root"] == str(tmp_path / root)
    assert (found["driver"], found["in_containerd"], found["remapped"]) == kept
    assert found["root_to_come"] == str(tmp_path / ("docker" if info else root))


def test_volumes_of_the_project_are_known_without_an_engine(tmp_path):
    for name in ("aicluster_redis_data", "somebody_else"):
        (tmp_path / "docker" / "volumes" / name).mkdir(parents=True)
    assert inspect()["conditions"]["volumes"] == ["redis_data"]
