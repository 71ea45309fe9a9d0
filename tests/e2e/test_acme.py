"""A public name at the front door: its certificate comes from Pebble, Let's Encrypt's server for tests."""

import re
import shlex
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator

import http_client
import pytest
import site_under_test as site
from aicluster_lab.containers import NETWORK
from tree import ROOT
from verified import all_is_healthy

pytestmark = pytest.mark.full
GATEWAY = next(node for node in site.running("kong") if "nginx" in node.services)
PORT = GATEWAY.port("nginx", "https")
PUBLIC, OWN, IMAGE, PEBBLE = "ai.example.org", "own.test", "aicluster-lab/pebble", "aicluster-lab-pebble"
WANTED = {"domains": [PUBLIC], "email": "ops@example.org", "server": "https://pebble:14000/dir"}
STATE, TRUSTED = "/var/lib/aicluster/acme", "/usr/local/share/ca-certificates/pebble.crt"
FORGET = (
    f"rm -rf {STATE} {TRUSTED} /opt/aicluster/nginx/secrets/acme.pem; update-ca-certificates; "
    "systemctl reset-failed aicluster-acme; grep -v pebble /etc/hosts >/tmp/hosts; cat /tmp/hosts >/etc/hosts"
)


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def served(name: str) -> str:
    """The certificate that a client gets who asks for a name."""
    return ssl.get_server_certificate((name, PORT))


def trusting(authority: str) -> urllib.request.OpenerDirector:
    """A client that trusts one CA and nothing else."""
    handler = urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=authority))
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[Callable[[], site.Run]]:
    """A run that brings the public name, with Pebble on the lab's network.

    The gateway trusts its server, the tests' own client its certificates.
    """
    variables = {f"nginx_acme_{name}": value for name, value in WANTED.items()}
    layer = site.inventory_layer(tmp_path_factory.mktemp("layer"), {GATEWAY: variables})
    docker("build", "--quiet", "--tag", IMAGE, str(ROOT / "lab" / "images" / "pebble"))
    known = f"--add-host={PUBLIC}:{GATEWAY.address}"
    docker("run", "--detach", f"--name={PEBBLE}", f"--network={NETWORK}", known, IMAGE)
    try:
        address = docker("exec", PEBBLE, "hostname", "-i")
        certificate = docker("exec", PEBBLE, "cat", "/etc/pebble.crt")
        site.shell(GATEWAY, f"echo {shlex.quote(certificate)} >{TRUSTED}; update-ca-certificates")
        site.shell(GATEWAY, f"echo {address} pebble >>/etc/hosts")
        places, real = {PUBLIC: GATEWAY.address, OWN: GATEWAY.address, "pebble": address}, socket.getaddrinfo
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", lambda host, *more: real(places.get(host, host), *more))
            patch.setattr(http_client, "_OPENER", trusting(certificate))
            root = http_client.get("https://pebble:15000/roots/0").body.decode()
            patch.setattr(http_client, "_OPENER", trusting(root))
            yield lambda: site.run_site(*layer, "--limit", GATEWAY.address).succeeded()
    finally:
        docker("rm", "--force", PEBBLE)
        back = site.run_site("--limit", GATEWAY.address)
        site.shell(GATEWAY, FORGET)
    back.succeeded()


@pytest.fixture(scope="module")
def issued(run) -> str:
    """The certificate of the public name, once the unit that the run started has asked for it."""
    own = served(OWN)
    run()
    # Where it is asking already, this waits for it.
    site.shell(GATEWAY, "systemctl start aicluster-acme")
    assert served(OWN) == own, "who asks for another name gets the certificate of the site's CA"
    return served(PUBLIC)


def test_a_public_name_has_the_certificate_of_the_acme_server_and_a_second_run_changes_nothing(run, issued):
    assert http_client.get(f"https://{PUBLIC}:{PORT}/healthz").status == 200
    assert issued != served(OWN)
    all_is_healthy("--limit", GATEWAY.address)
    assert set(run().changed.values()) == {0}


@pytest.mark.usefixtures("issued")
def test_while_the_acme_server_is_away_the_certificate_stays_and_verify_says_so():
    former = served(PUBLIC)
    docker("stop", PEBBLE)
    # It is due from now on.
    site.shell(GATEWAY, f"sed -i '1i renew_before_expiry = 99 years' {STATE}/renewal/pebble.conf")
    with pytest.raises(RuntimeError):
        site.shell(GATEWAY, "systemctl start aicluster-acme")
    assert served(PUBLIC) == former
    warnings = all_is_healthy("--limit", GATEWAY.address).report["warnings"]
    [said] = [one["text"] for one in warnings if one["service"] == "nginx"]
    assert re.match("the last renewal by https://pebble:14000/dir failed: .*[Ee]rror", said)
