"""Where the engine of a node keeps its data, and on which disks."""

import pytest
from aicluster_node import storage, system
from node_half import inspect

pytestmark = pytest.mark.usefixtures("own_node")
OVERLAYFS = {"Driver": "overlayfs", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
MANAGED = {"Address": "/var/run/docker/containerd/containerd.sock"}


def test_a_disk_is_that_of_the_folder_that_will_be_made(tmp_path):
    there = storage.disk(str(tmp_path), False)
    later = storage.disk(str(tmp_path / "not" / "yet"), True)
    assert later["device"] == there["device"]
    assert 0 < later["free_mb"] <= later["size_mb"]


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        pytest.param("data/docker", "/data", id="a folder on a disk of its own"),
        pytest.param("link/docker", "/data", id="a folder behind a link to another disk"),
        pytest.param("later/docker", "/data", id="a folder behind a link to what is not made yet"),
        pytest.param("docker", "", id="a folder on the disk around it"),
    ],
)
def test_the_file_system_of_a_folder_is_the_one_its_links_lead_to(tmp_path, monkeypatch, path, mount):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "later").symlink_to(tmp_path / "data" / "later")
    mounts = [str(tmp_path), str(tmp_path / "data")]
    monkeypatch.setattr(storage.os.path, "ismount", mounts.__contains__)
    found = storage.disk(str(tmp_path / path), True)
    assert (found["path"], found["mount"]) == (str(tmp_path / path), f"{tmp_path}{mount}")


@pytest.mark.parametrize(
    ("info", "toml", "path"),
    [
        pytest.param(
            {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]},
            "",
            "/docker/overlay2",
            id="the engine's own store is in its folder",
        ),
        pytest.param(
            OVERLAYFS,
            "",
            "/var/lib/containerd",
            id="containerd's store is where containerd has its data, wherever the engine's lies",
        ),
        pytest.param(
            OVERLAYFS,
            'version = 2\n  root = "/data/containerd"\n[plugins]\nroot = "/no"\n',
            "/data/containerd",
            id="which its own file may move",
        ),
        pytest.param(
            OVERLAYFS,
            "[plugins]\nroot = '/no'\n",
            "/var/lib/containerd",
            id="but not a plugin's part of that file",
        ),
        pytest.param(
            {**OVERLAYFS, "Containerd": MANAGED},
            "",
            "/docker/containerd",
            id="a containerd that the engine starts has its data in the engine's folder",
        ),
        pytest.param({}, "", "/var/lib/containerd", id="an engine that does not answer may use either"),
    ],
)
def test_images_are_where_the_engine_says(tmp_path, info, toml, path):
    (tmp_path / "containerd.toml").write_text(toml)
    assert storage.image_root(info, "/docker") == path


def test_images_and_volumes_are_named_where_they_have_a_file_system_of_their_own(monkeypatch):
    devices = {"/": 1, system.STACK_ROOT: 1, "/d": 2, "/d/volumes": 3, "/var/lib/containerd": 1}

    def on(path, docker):
        return {"path": path, "device": devices[path], "docker": docker}

    monkeypatch.setattr(storage, "disk", on)
    info = {"DockerRootDir": "/d", **OVERLAYFS}
    assert [(one["path"], one["docker"]) for one in storage.disks(info)] == [
        ("/", False),
        (system.STACK_ROOT, False),
        ("/d", True),
        ("/d/volumes", True),
    ]
    devices.update({"/d/volumes": 2, "/var/lib/containerd": 4})
    assert [one["path"] for one in storage.disks(info)][2:] == ["/d", "/var/lib/containerd"]


@pytest.mark.parametrize(
    ("info", "text", "root"),
    [
        pytest.param({}, None, None, id="the default where nothing says otherwise"),
        pytest.param({}, '{"data-root": "/mnt/nvme/docker"}', "/mnt/nvme/docker", id="its file"),
        pytest.param({}, "# broken", None, id="the default where the file is broken"),
        pytest.param(
            {"DockerRootDir": "/by/a/flag"}, '{"data-root": "/mnt/nvme/docker"}', "/by/a/flag", id="itself"
        ),
    ],
)
def test_where_the_engine_keeps_its_data_is_said_by(tmp_path, info, text, root):
    if text is not None:
        (tmp_path / "daemon.json").write_text(text)
    assert storage.docker_root(info) == (root or str(tmp_path / "docker"))


@pytest.mark.parametrize(
    ("info", "text", "found"),
    [
        pytest.param(
            {"DockerRootDir": "/d/1.2", "Driver": "overlay2", "SecurityOptions": ["name=seccomp"]},
            "{}",
            {"root": "/d/1.2", "driver": "overlay2", "in_containerd": False, "remapped": False},
            id="an engine with its own store",
        ),
        pytest.param(
            {"DockerRootDir": "/d/231072.231072", "Driver": "overlay2", "SecurityOptions": ["name=userns"]},
            "{}",
            {"root": "/d", "driver": "overlay2", "in_containerd": False, "remapped": True},
            id="an engine that remaps users, and has a folder of its own for them",
        ),
        pytest.param(
            {"DockerRootDir": "/d", **OVERLAYFS, "SecurityOptions": None},
            "{}",
            {"root": "/d", "driver": "overlayfs", "in_containerd": True, "remapped": False},
            id="an engine with containerd's store",
        ),
        pytest.param({}, '{"data-root": "/e"}', {"root_to_come": "/e"}, id="an engine that does not answer"),
        pytest.param({}, '{"graph": "/e"}', {"root_to_come": "/e"}, id="a file with the folder's old name"),
        pytest.param({}, "{", {}, id="a file that is none"),
    ],
)
def test_what_an_engine_keeps_its_data_with_is_what_it_says(tmp_path, info, text, found):
    folder = str(tmp_path / "docker")
    unknown = {"driver": None, "in_containerd": None, "remapped": None}
    assert storage.store(info, text) == {"root": folder, "root_to_come": folder, **unknown, **found}


def test_a_link_to_the_folder_of_the_engine_is_the_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "docker")
    info = {"DockerRootDir": str(tmp_path / "docker")}
    found = storage.store(info, f'{{"data-root": "{tmp_path}/link"}}')
    assert found["root"] == found["root_to_come"]


def test_volumes_of_the_project_are_known_without_an_engine(tmp_path):
    for name in ("aicluster_redis_data", "somebody_else"):
        (tmp_path / "docker" / "volumes" / name).mkdir(parents=True)
    assert inspect()["conditions"]["volumes"] == ["redis_data"]
