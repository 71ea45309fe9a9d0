"""Nobody but root changes the toolkit on the control node."""


def test_what_works_as_root_on_every_node_is_root_s_to_change(host):
    open_to_others = r"\( -not -user root -o -perm /022 \) -not -type l"
    assert host.check_output(f"find /opt/aicluster-toolkit/current/ {open_to_others}") == ""
