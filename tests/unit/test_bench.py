"""The pure parts of `make bench`: accounts, memory, medians, the table, and what the variants are made of."""

import hashlib
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aicluster_bench import bound, measure, ordinary, report, variants
from aicluster_bench.desired import HOST_ROLE, PROJECT_ROLE, FileState, NodeState, known_hosts_of, role_of
from aicluster_bench.measure import Cost, Process
from jinja2 import Environment

ID = "b30ab02b38d8" + "0" * 52


@pytest.mark.parametrize(
    ("membership", "expected"),
    [
        pytest.param(
            f"4:memory:/docker/{ID}/init.scope\n2:cpuacct:/docker/{ID}\n0::/docker/{ID}/init.scope\n",
            f"/sys/fs/cgroup/cpuacct/docker/{ID}/cpuacct.usage",
            id="v1 beside v2: the account of v1, which is the one that counts",
        ),
        pytest.param(
            f"3:cpu,cpuacct:/docker/{ID}/system.slice\n",
            f"/sys/fs/cgroup/cpuacct/docker/{ID}/cpuacct.usage",
            id="v1 with controllers mounted together, in a group below the container's",
        ),
        pytest.param(
            f"0::/system.slice/docker-{ID}.scope/init.scope\n",
            f"/sys/fs/cgroup/system.slice/docker-{ID}.scope/cpu.stat",
            id="v2 under systemd",
        ),
        pytest.param("0::/user.slice\n", None, id="a process of no container has no account"),
    ],
)
def test_the_cpu_account_of_a_container(membership, expected):
    assert measure.account_path(membership, ID) == (expected and Path(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2500000000\n", 2.5, id="v1 counts nanoseconds"),
        pytest.param("usage_usec 2500000\nuser_usec 1\n", 2.5, id="v2 counts microseconds"),
    ],
)
def test_cpu_seconds(text, expected):
    assert measure.cpu_seconds(text) == expected


def test_a_process_name_may_hold_brackets_and_blanks():
    text = "42 (a) b (c)) S 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 250 1 1"
    assert measure.parse_stat(text, 100) == Process(42, 7, 2.5)


def test_descendants_are_all_below_and_not_the_root():
    table = [Process(1, 0, 0), Process(2, 1, 0), Process(3, 2, 0), Process(4, 0, 0)]
    assert {process.pid for process in measure.descendants(table, 1)} == {2, 3}


@pytest.mark.parametrize(
    ("rollup", "expected"),
    [
        pytest.param("head\nPss_Anon: 112 kB\nAnonymous: 500 kB\n", 112, id="shared pages are divided"),
        pytest.param("head\nAnonymous: 500 kB\n", 500, id="an old kernel does not divide them"),
        pytest.param("head\n", 0, id="a kernel thread has none"),
    ],
)
def test_anonymous_memory(rollup, expected):
    assert measure.anonymous_kb(rollup) == expected


def test_the_bench_finds_all_it_reads_the_site_with_when_it_is_started_by_itself():
    code = "import sys; sys.path[:0] = [sys.argv[1]]; import aicluster_bench, render"
    folder = Path(measure.__file__).parents[1]
    subprocess.run([_python(), "-c", code, folder], check=True, capture_output=True, env={}, cwd="/")


def test_a_run_counts_what_its_children_used_and_left_behind(tmp_path):
    # It rests with its memory held: on a busy machine seconds lie between two looks.
    script = (
        "x = b'a' * 50_000_000; import time; end = time.process_time() + 0.3\n"
        "while time.process_time() < end: pass\n"
        "time.sleep(2)"
    )
    code = (
        "import ctypes, os, sys; sys.path[:0] = [sys.argv[1]]; from pathlib import Path\n"
        "from aicluster_bench import measure; measure.adopt_orphans()\n"
        "cost = measure.run(['sh', '-c', 'sleep 60 & exec \"$0\" -c \"$1\"', sys.executable, sys.argv[2]],"
        " os.environ, Path('.'), Path(sys.argv[3]), [])\n"
        "print(cost.controller_cpu_s, cost.controller_mb, cost.code, measure.memory_below(os.getpid()))"
    )
    bench = Path(measure.__file__).parents[1]
    done = subprocess.run(
        [_python(), "-c", code, bench, script, tmp_path / "log"], capture_output=True, text=True, check=True
    )
    cpu, memory, exit_code, left = (float(word) for word in done.stdout.split())
    assert 0.3 <= cpu < 3
    assert 50 < memory < 150
    assert (exit_code, left) == (0, 0), "the sleeping orphan was ended"


def _python() -> str:
    import sys

    return sys.executable


def cost(wall=1.0, target=1.0, code=0, output="") -> Cost:
    return Cost(wall, 1.0, target, 1.0, code, output)


def test_a_row_holds_medians_and_takes_off_what_idle_nodes_use():
    runs = [cost(wall=10, target=7), cost(wall=30, target=100), cost(wall=20, target=14)]
    row = report.summary("x", runs, idle_rate=0.5, modules=1, tasks=5)
    assert (row.wall_s, row.target_cpu_s) == (20, 4)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (3.0, "3"), (6.346, "6.35"), (42.42, "42.4"), (217.4, "217"), (1000.0, "1000")],
)
def test_a_number_has_as_many_digits_as_it_deserves(value, expected):
    assert report.number(value) == expected


ROWS = {
    "toolkit": report.Row("toolkit", 6.5, 5.5, 5.0, 170.5, 1.0, 20),
    "mitogen": report.Row("mitogen", problem="cannot run"),
    "pyinfra": report.Row("pyinfra", 13.0, 7.0, 9.0, 38.0, None, 12),
    "bound": report.Row("bound", 1.3, 1.0, 2.0, 25.0, None, None),
}


def test_the_table_is_aligned_and_says_why_a_row_is_empty():
    assert report.table(ROWS).splitlines() == [
        "         wall s  CPU s here  CPU s nodes  MB here  modules/node  tasks  of toolkit  of bound",
        "toolkit    6.50        5.50            5      170             1     20         1 x       5 x",
        "mitogen       -           -            -        -             -      -           -         -",
        "pyinfra      13           7            9       38             -     12         2 x      10 x",
        "bound      1.30           1            2       25             -      -      0.20 x       1 x",
        "mitogen: cannot run",
    ]


def test_the_aims_are_judged_by_the_rows():
    assert report.aims(ROWS) == [
        "met    module executions per node: 1 (aim: 3 or less)",
        "met    wall seconds, next to pyinfra: 6.50 (aim: 13 or less)",
        "MISSED wall seconds, next to 4 times the lower bound: 6.50 (aim: 5.20 or less)",
        "met    MB of memory of the controller: 170 (aim: 200 or less)",
    ]


def test_aims_without_numbers_are_not_judged():
    assert report.aims({"bound": ROWS["bound"]}) == []


RECAP = "PLAY RECAP ***\n10.0.0.1 : ok=3    changed={}    unreachable=0    failed=0    skipped=1\n"


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        pytest.param(cost(output=RECAP.format(0)), "", id="nothing changed"),
        pytest.param(cost(output=RECAP.format(2)), "10.0.0.1 changed=2", id="something changed"),
        pytest.param(cost(output="no hosts matched"), "no hosts matched", id="no host ran"),
        pytest.param(
            cost(code=4, output="fatal: [10.0.0.1]: why\n" + RECAP.format(0)),
            "ended with 4: fatal: [10.0.0.1]: why",
            id="it failed, and its reason is not the recap",
        ),
    ],
)
def test_an_ansible_run_is_judged_by_its_recap(run, problem):
    judged = variants.judge_ansible(run, nodes=1)
    assert problem in judged and bool(judged) == bool(problem)


@pytest.mark.parametrize("count", [0, 2])
def test_a_lab_out_of_its_desired_state_is_refused_and_asked_in_check_mode_only(monkeypatch, count):
    import bench

    asked = []

    def run(command, **_options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, RECAP.format(count), "")

    monkeypatch.setattr(subprocess, "run", run)
    if count:
        with pytest.raises(bench.BenchError, match=r"changed=2.*Nothing was measured or changed.*make lab"):
            bench.require_desired_state()
    else:
        bench.require_desired_state()
    assert [command[-2:] for command in asked] == [["site.yml", "--check"]]


TOTAL = "--> Starting operation: x\n    x  1  -  -  1\n    Grand total   23   {}   {}   {}   \n\n--> End\n"


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        pytest.param(cost(output=TOTAL.format("-", "-", 23)), "", id="nothing changed"),
        pytest.param(cost(output=TOTAL.format(2, "-", 21)), "2 operations changed", id="something changed"),
        pytest.param(cost(code=1, output=TOTAL.format("-", 1, 22)), "ended with 1", id="it failed"),
        pytest.param(cost(output="no hosts"), "no hosts", id="no host ran"),
    ],
)
def test_a_pyinfra_run_is_judged_by_its_closing_table(run, problem):
    judged = variants.judge_pyinfra(run)
    assert problem in judged and bool(judged) == bool(problem)


def test_operations_of_pyinfra_are_counted():
    assert variants.operations(TOTAL) == variants.Counts(modules=None, tasks=1)
    assert variants.operations("") == variants.Counts(modules=None, tasks=None)


def test_the_counts_of_the_callback():
    text = "task\nmodule 10.0.0.1 stack_node\nmodule 10.0.0.2 stack_node\ntask\n"
    assert variants.count_lines(text) == variants.Counts(modules=2, tasks=2)


def test_nothing_of_the_callers_ansible_or_python_is_inherited(monkeypatch):
    monkeypatch.setenv("ANSIBLE_FORKS", "1")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    environment = variants.base_environment(Path("/project"))
    assert environment["ANSIBLE_CONFIG"] == "/project/ansible.cfg"
    assert not {"ANSIBLE_FORKS", "PYTHONPATH"} & set(environment)


def test_known_hosts_are_those_of_the_inventory():
    assert known_hosts_of("-o UserKnownHostsFile=/lab/known -o X=y") == "/lab/known"
    assert known_hosts_of("").endswith(".ssh/known_hosts")


def test_files_of_host_roles_are_laid_down_by_one_role():
    assert [role_of(owner, ["nginx"]) for owner in ("base", "nginx", "stack")] == [
        HOST_ROLE,
        "nginx",
        "stack",
    ]


def file_state(path: str, content: Path, sha256: str = "", **others: Any) -> FileState:
    made = FileState(
        path,
        "0644",
        0,
        0,
        "root",
        "root",
        sha256,
        HOST_ROLE,
        template=True,
        secret=False,
        content=str(content),
    )
    return replace(made, **others)


def node(host: str, *files: FileState, **others: Any) -> NodeState:
    made = NodeState(
        host, host, "gateway", "ansible", "/key", "/known", ("nginx",), files, ("jq",), ("docker",), {}, {}
    )
    return replace(made, **others)


def test_a_verbatim_template_renders_to_itself():
    text = "a: '{{.Name}}'\n{% if x %}\n# {# no comment #}\n"
    template = Environment(trim_blocks=True, keep_trailing_newline=True, autoescape=False)
    assert template.from_string(ordinary.verbatim(text)).render() == text


def test_a_task_that_not_all_hosts_have_is_conditional():
    first, second = file_state("/etc/a", Path("a")), file_state("/etc/b", Path("b"))
    tasks = ordinary.role_tasks(HOST_ROLE, [node("h1", first, second), node("h2", first)])
    conditions = {task["name"]: task.get("when") for task in tasks}
    assert conditions == {
        "Install packages": None,
        "Make the folders": None,
        "Lay down /etc/a": None,
        "Lay down /etc/b": "inventory_hostname in ['h1']",
        "Enable and start docker": None,
    }


def test_a_secret_is_laid_down_without_showing_it():
    secret = file_state("/opt/x/secrets/key", Path("k"), secret=True, template=False, mode="0400", uid=5)
    task = ordinary.file_task(secret)
    assert task["no_log"] is True
    assert task["ansible.builtin.copy"]["mode"] == "0400"
    assert ordinary.directory_task([secret])["loop"] == [
        {"path": "/opt/x/secrets", "mode": "0500", "owner": "5"}
    ]


def test_services_come_tier_by_tier_after_the_foundation():
    found = ordinary.plays([node("h1"), node("h2", tier="backend", services=("postgres",))])
    assert [(play["hosts"], play["roles"]) for play in found] == [
        ("nodes", ["host"]),
        ("backend", ["postgres", "stack"]),
        ("gateway", ["nginx", "stack"]),
    ]


def said_by(state: NodeState, answer: str = "[]", **environment: str) -> str:
    """What a node's script prints where the engine gives this answer."""
    faked = [
        f"found='{answer}'" if line.startswith("found=") else line
        for line in bound.check_script(state).splitlines()
    ]
    done = subprocess.run(
        ["sh"],
        input="\n".join(faked),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    return done.stdout + done.stderr


def test_the_check_script_says_what_differs(tmp_path):
    path = tmp_path / "a file"
    path.write_text("content")
    path.chmod(0o640)
    owner = {"uid": os.getuid(), "gid": os.getgid(), "mode": "0640"}
    good = file_state(str(path), path, hashlib.sha256(b"content").hexdigest(), **owner)
    bare = {"packages": (), "units": ()}

    def said(state: FileState) -> str:
        return said_by(node("h1", state, **bare))

    assert said(good) == ""
    assert "FAILED" in said(replace(good, sha256="0" * 64))
    assert said(replace(good, mode="0644")) == "differs: owner or mode of a file\n"
    assert said(replace(good, path=str(path) + "x")).count("No such file") == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(
            '[{"Id":"1","Labels":{"aicluster.digest":"d2","com.docker.compose.service":"redis"},'
            '"State":"running","Status":"Up"},{"Id":"2","Labels":{"aicluster.digest":"d1",'
            '"com.docker.compose.service":"kong","x":"y"},"State":"running","Status":"Up (healthy)"}]',
            "",
            id="as wanted, in any order",
        ),
        pytest.param("[]", "differs: containers\n", id="none runs"),
        pytest.param("", "differs: containers\n", id="no engine answers"),
        pytest.param(
            '[{"Labels":{"aicluster.digest":"d2","com.docker.compose.service":"redis"},'
            '"State":"running","Status":"Up (unhealthy)"},{"Labels":{"aicluster.digest":"d0",'
            '"com.docker.compose.service":"kong"},"State":"running","Status":"Up"}]',
            "differs: containers\ndiffers: a container is unhealthy\n",
            id="one of an older digest, one unhealthy",
        ),
        pytest.param(
            '[{"Labels":{"aicluster.digest":"d2","com.docker.compose.service":"redis"},"State":"exited"},'
            '{"Labels":{"aicluster.digest":"d1","com.docker.compose.service":"kong"},"State":"running"}]',
            "differs: containers\n",
            id="one that ended and should run",
        ),
    ],
)
def test_the_check_script_reads_the_engines_answer(answer, said):
    state = node("h1", packages=(), units=(), containers={"kong": "d1", "redis": "d2"})
    assert said_by(state, answer) == said


@pytest.mark.parametrize(
    ("state", "said"),
    [
        pytest.param("created", "", id="as wanted when it was never started"),
        pytest.param("exited", "", id="as wanted when it was stopped"),
        pytest.param("running", "differs: containers\n", id="not when it runs"),
    ],
)
def test_the_check_script_wants_services_of_other_modes_asleep(state, said):
    made = node("h1", packages=(), units=(), containers={"kong": "d1"}, asleep=("kong",))
    answer = f'[{{"aicluster.digest":"d1","com.docker.compose.service":"kong","State":"{state}"}}]'
    assert said_by(made, answer) == said


def test_what_a_probe_asks_may_be_a_file_of_a_user(tmp_path):
    (tmp_path / "keys").write_text("a\n")

    def said(path: str) -> str:
        return said_by(node("h1", probes={"access": path}, packages=(), units=()), HOME=str(tmp_path))

    assert said("~/keys") == ""
    assert "differs: access does not answer\n" in said("~/none")
    probes = {"access": "~/keys", "kong": "http://h/status"}
    tasks = ordinary.role_tasks(PROJECT_ROLE, [node("h1", probes=probes)])
    assert [task.get("ansible.builtin.slurp", task.get("ansible.builtin.uri")) for task in tasks[-2:]] == [
        {"src": "~/keys"},
        {"url": "http://h/status"},
    ]


def test_every_node_is_asked_at_once_and_each_must_be_silent(tmp_path):
    driver = bound.driver_script([node("h1"), node("h2")], tmp_path)
    assert driver.count(" &\n") == 2
    assert driver.splitlines()[-1] == "! grep . h1.out h2.out"
