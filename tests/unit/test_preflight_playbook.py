"""The preflight as a user runs it: every mistake at once, exit code not 0, nobody contacted."""

from programs import ansible, script

BROKEN = """\
gateway: {hosts: {192.168.1.147: }}
secondary-ai: {hosts: {192.168.1.157: }}
backend: {hosts: {203.0.113.5: }}
raspberry_pi_5: {hosts: {192.168.1.147: , 203.0.113.5: }}
jetson_orin_nano: {hosts: {192.168.1.157: }}
"""


def test_a_broken_inventory_stops_the_whole_site_before_any_node_is_touched(tmp_path):
    inventory, secrets, contacted = (tmp_path / name for name in ("broken.yml", "secrets.yml", "contacted"))
    inventory.write_text(BROKEN)
    secrets.write_text("kong_api_key: value-of-kong_api_key\n")
    ssh = script(tmp_path / "ssh", f"touch {contacted}\nexit 255")
    words = f"site_secrets_file={secrets} ansible_ssh_executable={ssh}"
    done = ansible(
        "ansible-playbook", "site.yml", "-i", "inventory/groups.yml", "-i", str(inventory), "-e", words
    )
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    for sentence in (
        "mistakes in the site description; no node was touched.",
        "1. group secondary-ai 192.168.1.157: is not among the groups of inventory/groups.yml;",
        "2. tier of ORIN0 (192.168.1.157) none: must be exactly one tier group; put it under one of gateway,",
        "node_name of 203.0.113.5 missing: must be a host name",
        "set it in host_vars/203.0.113.5/node.yml",
        "address of 203.0.113.5 '203.0.113.5': must be inside site_network 192.168.1.0/24",
        "secret redis_password of service",
    ):
        assert sentence in said
    assert "value-of-" not in done.stdout + done.stderr, "a secret is shown"
    assert done.stdout.count("PLAY [") == 1, "a play after the preflight began"
    assert not contacted.exists()
