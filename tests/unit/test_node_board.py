"""The machine, its kernel and its system."""

import pytest
from aicluster_node import board, system

V1_ON = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t125\t1\nmemory\t4\t211\t1\n"


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Writes what a file of the kernel or the system says, by the constant that names it."""

    def write(**texts):
        for constant, text in texts.items():
            monkeypatch.setattr(board, constant, str(tmp_path / constant))
            if text is not None:
                (tmp_path / constant).write_text(text)

    return write


@pytest.mark.parametrize(("v2", "v1", "on"), [
    pytest.param("cpuset cpu io memory pids\n", None, True, id="version 2 with it"),
    pytest.param("cpuset cpu io pids\n", None, False, id="version 2 without it: Raspberry Pi OS"),
    pytest.param("cpu pids\n", V1_ON, False, id="version 2 counts where both are"),
    pytest.param(None, V1_ON, True, id="version 1, also in a container: the lab"),
    pytest.param(None, V1_ON.replace("211\t1", "1\t0"), False, id="version 1, switched off"),
    pytest.param(None, "#subsys_name\ncpu\t1\t1\t1\n", False, id="version 1, not in the kernel"),
    pytest.param(None, None, None, id="no cgroups to be seen: it cannot be told"),
])  # fmt: skip
def test_whether_the_kernel_counts_memory_per_container(shown, v2, v1, on):
    shown(CGROUPS_V2=v2, CGROUPS_V1=v1)
    assert board.memory_cgroup()["on"] is on


def test_a_memory_cgroup_that_is_off_comes_with_the_file_to_mend(tmp_path, monkeypatch, shown):
    shown(CGROUPS_V2="cpu\n", KERNEL_ARGUMENTS="cgroup_disable=memory quiet\n")
    monkeypatch.setattr(board, "BOOT_FILES", (str(tmp_path / "none"), board.KERNEL_ARGUMENTS))
    found = board.memory_cgroup()
    assert found["cmdline"] == board.KERNEL_ARGUMENTS
    assert "started with cgroup_disable=memory" in found["evidence"]


@pytest.mark.parametrize(("line", "release"), [
    ("# R32 (release), REVISION: 7.6, GCID: 38171779, BOARD: t210ref, EABI: aarch64, DATE: x", "32.7.6"),
    ("# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64, DATE: x", "36.4.7"),
    ("# R39 (release), REVISION: 2.1\n# KERNEL_VARIANT: oot\n", "39.2.1"),
    ("# R36 (release)\n", ""),
    (None, ""),
], ids=["JetPack 4", "JetPack 6", "JetPack 7, with more lines", "no revision", "no Jetson"])  # fmt: skip
def test_the_release_of_a_jetson_is_known_and_what_it_holds(monkeypatch, shown, line, release):
    monkeypatch.setattr(system, "run", lambda _command: "docker-ce hold\ndocker.io install\n")
    shown(L4T_FILE=line)
    found = board.board([])
    assert (found["l4t"], found["held"]) == (release, ["docker-ce"] if release else [])
