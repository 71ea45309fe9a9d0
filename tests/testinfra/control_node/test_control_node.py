"""The control node has the toolkit itself, which nobody but root changes."""

RELEASES = "/opt/aicluster-toolkit"


def test_the_installed_toolkit_runs_with_the_locked_ansible(host):
    import ansible.release

    said = host.check_output("/opt/aicluster/bin/aicluster-toolkit ansible --version")
    assert said.startswith(f"ansible [core {ansible.release.__version__}]")


def test_what_works_as_root_on_every_node_is_root_s_to_change(host):
    open_to_others = r"\( -not -user root -o -perm /022 \) -not -type l"
    assert host.check_output(f"find {RELEASES}/current/ {open_to_others}") == ""
