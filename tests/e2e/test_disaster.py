"""The worst nights of docs/disaster, played: PI31's card, AGX0's disk, and all stores but the one off site.

What PI52 lost comes back in every test run: test_remove.py.
"""

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import site_under_test as site
from aicluster_lab.ask import environment
from ansible.parsing.vault import VaultLib, VaultSecret
from copies import CONTROL, DATA, FIRST, back_up
from interrupted import postgres
from load import board
from tree import ROOT
from verified import all_is_healthy

pytestmark = pytest.mark.full
# Has no copies of others; a server there stands for one elsewhere.
[AWAY, *_] = [node for node in site.running("alertmanager") if "backup_store" not in node.services]
PORT, USER, PASSWORD = 18000, "somebody", "made-up-password"
ADDRESS = f"rest:http://{AWAY.address}:{PORT}/aicluster"
SERVER = """
docker run --detach --name away --publish {port}:8000 --volume away:/data --env LOGIN='{login}' {image} \\
  sh -c 'echo "$LOGIN" > /data/.htpasswd && exec rest-server --listen :8000 --path /data'
"""
CLONE = "/root/clone"
PARTS = ("aicluster", "bin", "group_vars", "host_vars", "inventory")


def password() -> str:
    """What opens the copy of the site."""
    return str(site.variable(CONTROL, "site_vault_password"))


def recover(address: str, environment: str = "") -> str:
    """Recover the site in a new clone on the control node, from one repository; return what is said."""
    site.shell(CONTROL, "apt-get update -qq && apt-get install -y -qq --no-install-recommends restic")
    site.shell(CONTROL, f"rm -rf {CLONE} && mkdir {CLONE} && echo {password()} > /root/password")
    with subprocess.Popen(["tar", "-C", ROOT, "-c", *PARTS], stdout=subprocess.PIPE) as packed:
        unpack = [*site.as_root(CONTROL), "tar", "-C", CLONE, "-x"]
        subprocess.run(unpack, stdin=packed.stdout, check=True)
    command = f"bin/recover-site --vault-password-file /root/password {address}"
    return site.shell(CONTROL, f"cd {CLONE} && rm -r host_vars && {environment} {command}")


def is_the_site() -> None:
    """Compare the clone on the control node with what is here."""
    secrets = Path(site.variable(CONTROL, "site_secrets_file"))
    there = site.shell(CONTROL, f"cat {CLONE}/{secrets.relative_to(ROOT)}")
    vault = VaultLib([("default", VaultSecret(password().encode()))])
    assert vault.decrypt(there.encode()) == secrets.read_bytes()
    listing = "find -L group_vars host_vars inventory -type f | LC_ALL=C sort | xargs sha256sum"
    here = subprocess.run(["sh", "-c", listing], cwd=ROOT, capture_output=True, text=True, check=True)
    assert site.shell(CONTROL, f"cd {CLONE} && {listing}") == here.stdout


def test_a_lost_card_comes_back_from_the_vaults_password_and_the_address_of_one_store():
    site.shell(FIRST, "systemctl start aicluster-backup-store")
    board(CONTROL).remove(force=True, v=True)
    # A bare one in its place.
    subprocess.run([sys.executable, "lab/lab.py", "nodes"], cwd=ROOT, env=environment(ROOT), check=True)
    recover(f"rest:http://{FIRST.address}:{FIRST.port('backup_store', 'rest')}")
    is_the_site()
    site.run_playbook("playbooks/utility.yml").succeeded()
    # The new keys take the place of the lost ones, and do the work of the night.
    site.shell(CONTROL, "systemctl start aicluster-nightly")
    all_is_healthy()


def test_a_lost_first_store_is_filled_again():
    data = "$(docker volume inspect --format '{{.Mountpoint}}' aicluster_backup_store_data)"
    site.shell(FIRST, f"find {data} -mindepth 1 -delete")
    back_up()
    site.shell(FIRST, "systemctl start aicluster-backup-store && systemctl start aicluster-drill")
    all_is_healthy()


@pytest.fixture(scope="module")
def away() -> Iterator[site.Run]:
    """The run that told the first store of an off-site repository; afterwards there is none."""
    image = site.variable(FIRST, "site_image_mirror") + "/" + FIRST.services["backup_store"]["image"]
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    site.shell(AWAY, SERVER.format(port=PORT, image=image, login=f"{USER}:{{SHA}}{digest}"))
    file = Path(site.variable(CONTROL, "site_secrets_file"))
    secrets = file.read_text()
    opens = {"RESTIC_REST_USERNAME": USER, "RESTIC_REST_PASSWORD": PASSWORD}
    file.write_text(f"{secrets}offsite_environment: {json.dumps(opens)}\n")
    try:
        with site.opened(AWAY, PORT):
            yield site.run_site("--limit", FIRST.address, "-e", f"site_offsite={ADDRESS}")
    finally:
        file.write_text(secrets)
        back = site.run_site()
        site.shell(AWAY, "docker rm --force away; docker volume rm away")
    back.succeeded()


def test_without_any_store_a_database_and_the_site_come_back_from_off_site(away):
    away.succeeded()
    postgres("create table far (round int)")
    postgres("insert into far values (1), (2), (3)")
    back_up()
    site.shell(FIRST, "systemctl start aicluster-backup-store && systemctl start aicluster-offsite")
    state = site.told(FIRST, "cat /var/lib/aicluster/offsite.json")
    assert state.keys() == {"site", *(node.name for node in site.running("backup"))}
    assert {name: one["error"] for name, one in state.items() if one["error"]} == {}
    postgres("delete from far")
    with site.stopped("backup_store", *site.running("backup_store")):
        site.run_confirmed(
            "playbooks/restore.yml", "-e", f"service=postgres node={DATA.name}",
            "-e", f"copy=offsite site_offsite={ADDRESS}",
        ).succeeded()  # fmt: skip
        recover(ADDRESS, f"RESTIC_REST_USERNAME={USER} RESTIC_REST_PASSWORD={PASSWORD}")
    assert postgres("select count(*) from far") == "3"
    site.shell(DATA, "/opt/aicluster/postgres/bin/restore --drop-before")
    postgres("drop table far")
    assert "offsite" not in site.shell(DATA, "ls /run/aicluster"), "what opens it stays on no node"
