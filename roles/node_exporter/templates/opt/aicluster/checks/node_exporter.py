"""node_exporter measures this machine and hands out what others left for it in files."""

import os

from aicluster_verify import CheckError, Kit

UNIT = "systemctl status prometheus-node-exporter"
JOURNAL = "journalctl -u prometheus-node-exporter"
FAILED = "node_scrape_collector_success{"


def check(kit: Kit) -> str:
    """Look for the machine's own name, our own metric, and complaints about a file."""
    lines = kit.expect(kit.url("node_exporter", "metrics", "/metrics")).text.splitlines()
    names = [line for line in lines if line.startswith("node_uname_info{")]
    if not any('nodename="%s"' % os.uname().nodename in line for line in names):
        raise CheckError("measures another machine than %s: %s" % (os.uname().nodename, names), UNIT)
    if not any(line.startswith("aicluster_node_info{") and 'node="%s"' % kit.node in line for line in lines):
        raise CheckError("aicluster_node_info of %s is missing: files are not read" % kit.node, UNIT)
    errors = [line for line in lines if line.startswith("node_textfile_scrape_error ")]
    if [line.split()[1] for line in errors] != ["0"]:
        raise CheckError("a file of metrics cannot be read: %s" % errors, JOURNAL)
    failed = [line for line in lines if line.startswith(FAILED) and line.endswith(" 0")]
    return "%d samples%s" % (
        sum(not line.startswith("#") for line in lines),
        ", nothing from " + ", ".join(sorted(line.split('"')[1] for line in failed)) if failed else "",
    )
