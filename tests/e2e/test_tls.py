"""TLS at the front door: clients that trust the site's CA, those that do not, and a renewal under load."""

import http.client
import json
import os
import re
import shlex
import ssl
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import http_client
import pytest
import site_under_test as site
from load import QUESTION, Load
from tree import ROOT
from verified import all_is_healthy, verify

from aicluster.gateway import certificates

GATEWAY = next(node for node in site.running("kong") if "nginx" in node.services)
PAGES = next(node for node in site.running("nginx") if "jupyterhub" in node.services)
PORT = GATEWAY.port("nginx", "https")
URL = f"https://{GATEWAY.address}:{PORT}"
NAME = f"{GATEWAY.name.lower()}.{site.variable(GATEWAY, 'site_domain')}"
UNTRUSTED, NO_COMMON_VERSION = 60, 35
OF_A_BROWSER = ("Upgrade-Insecure-Requests", "1")
IMAGE = "aicluster-lab/browser"
# In turns, so that what else the machine does meets both alike.
ROUNDS, CHATS = 10, 20


@pytest.fixture(scope="module")
def ca(gateway_url, tmp_path_factory) -> Path:
    """The CA, as anybody gets it."""
    answer = http_client.get(f"{gateway_url}/ca.crt")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-x509-ca-cert")
    file: Path = tmp_path_factory.mktemp("ca") / "ca.crt"
    file.write_bytes(answer.body)
    file.parent.chmod(0o755)
    return file


@pytest.fixture(scope="module", autouse=True)
def trusting(ca):
    """Have the tests' own client trust the CA."""
    handler = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca)))
    with pytest.MonkeyPatch.context() as patch:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)
        patch.setattr(http_client, "_OPENER", opener)
        yield


def curl(*arguments: str) -> tuple[int, str]:
    """Exit code and status of what curl asks."""
    command = ["curl", "--silent", "--noproxy", "*", "--output", os.devnull, "--write-out", "%{http_code}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.looks
def test_curl_trusts_the_ca_for_address_and_name_and_nothing_else(ca):
    trust, healthz = ("--cacert", str(ca)), f"{URL}/healthz"
    named = [f"{name}:{PORT}:{GATEWAY.address}" for name in (NAME, "other.local")]
    assert curl(*trust, healthz) == (0, "200")
    assert curl(*trust, "--resolve", named[0], f"https://{NAME}:{PORT}/healthz") == (0, "200")
    assert curl(*trust, "--resolve", named[1], f"https://other.local:{PORT}/healthz")[0] == UNTRUSTED
    assert curl(healthz)[0] == UNTRUSTED
    assert curl(*trust, "--tls-max", "1.1", healthz)[0] == NO_COMMON_VERSION


@pytest.mark.looks
def test_openais_client_needs_the_variable_that_the_page_names(ca, api_key):
    program = "import openai; print([model.id for model in openai.OpenAI(max_retries=0).models.list()])"
    known = {"OPENAI_BASE_URL": f"{URL}/v1", "OPENAI_API_KEY": api_key, "PATH": os.environ["PATH"]}

    def asked(**more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=known | more, capture_output=True, text=True, check=False)

    assert "'chat'" in asked(SSL_CERT_FILE=str(ca)).stdout
    without = asked()
    assert without.returncode and "CERTIFICATE_VERIFY_FAILED" in without.stderr


@pytest.mark.looks
def test_chromium_opens_the_portal_once_the_ca_is_installed(ca):
    folder = str(ROOT / "lab" / "images" / "browser")
    subprocess.run(["docker", "build", "--quiet", "--tag", IMAGE, folder], check=True, capture_output=True)
    options = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --virtual-time-budget=10000"
    install = "db=sql:$HOME/.pki/nssdb; mkdir -p $HOME/.pki/nssdb; certutil -d $db -N --empty-password"

    def page(script: str) -> str:
        command = ["docker", "run", "--rm", "--network=aicluster-lab", f"--volume={ca.parent}:/ca:ro"]
        command += ["--entrypoint=sh", IMAGE, "-c", f"{script}; chromium {options} --dump-dom {URL}/"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    assert 'id="summary"' in page(f"{install}; certutil -d $db -A -t C,, -n site -i /ca/ca.crt")
    assert 'id="summary"' not in page("true")


@pytest.mark.looks
@pytest.mark.parametrize("tls", [True, False])
def test_a_stream_is_passed_on_token_by_token(gateway_url, api_key, tls):
    question = {"messages": [{"role": "user", "content": "Say all of this. " * 50}], "stream": True}
    lines = http_client.post_stream(f"{URL if tls else gateway_url}/api/v1/chat", question, api_key)
    assert json.loads(lines[-1][1])["done"] is True
    # The lab's runner writes 400 words a second; before the first one it may load the model.
    assert lines[-1][0] - lines[0][0] > 0.2


@pytest.mark.looks
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_jupyterhub_leads_to_pages_behind_the_same_nginx(scheme):
    # From the short address over two redirects.
    url = f"{scheme}://{PAGES.address}:{PAGES.port('nginx', scheme)}/jupyter"
    assert b"<title>JupyterHub</title>" in http_client.get(url).body


@pytest.mark.looks
@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/ca.html", 200), ("/grafana/", 307)])
def test_without_tls_a_browser_sees_the_portal_and_is_sent_on_from_other_pages(gateway_url, path, status):
    connection = http.client.HTTPConnection(gateway_url.removeprefix("http://"), timeout=10)
    connection.request("GET", path, headers=dict([OF_A_BROWSER]))
    answer = connection.getresponse()
    assert answer.status == status
    if status != 200:
        assert str(answer.headers["Location"]).startswith("https://")
    assert http_client.get(f"{gateway_url}/grafana/api/health").status == 200, "a program is served"


def processor_ms() -> float:
    """Processor time the gateway's nginx has used since its container started."""
    # Nanoseconds, or a table of microseconds: cgroups of version 1 and 2.
    inside = f"{site.COMPOSE} exec -T --workdir /sys/fs/cgroup nginx"
    said = site.shell(GATEWAY, f"{inside} sh -c 'cat cpuacct/cpuacct.usage || cat cpu.stat'").split()
    return int(said[0]) / 1e6 if len(said) == 1 else int(said[1]) / 1000


@pytest.mark.full
def test_what_tls_costs_a_chat_is_written_down(gateway_url, api_key, record_property):
    took: dict[str, list[float]] = {gateway_url: [], URL: []}
    busy = dict.fromkeys(took, 0.0)
    for _ in range(ROUNDS):
        for url, milliseconds in took.items():
            before = processor_ms()
            answers = [http_client.post(f"{url}/api/v1/chat", QUESTION, api_key) for _ in range(CHATS)]
            busy[url] += processor_ms() - before
            assert {answer.status for answer in answers} == {200}
            milliseconds += [answer.seconds * 1000 for answer in answers]
    for url, name in ((gateway_url, "http"), (URL, "https")):
        parts = quantiles(took[url], n=100)
        record_property(f"{name}_p50_ms", round(parts[49], 1))
        record_property(f"{name}_p99_ms", round(parts[98], 1))
        record_property(f"{name}_nginx_cpu_ms", round(busy[url] / len(took[url]), 2))
    at = shlex.quote(f"{GATEWAY.address}:{PORT}")
    command = f"openssl s_time -connect {at} -new -time 3 | grep 'real seconds'"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    record_property("handshakes", done.stdout.strip())


@pytest.mark.looks
def test_a_database_refuses_another_node_without_tls():
    primary, standby = site.running("postgres")
    where = f"host={primary.address} port={primary.port('postgres', 'sql')} user=replication dbname=postgres"
    sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    ask = f"{site.COMPOSE} exec -T postgres psql -Atc '{sql}'"
    trust = "sslmode=verify-full sslrootcert=/etc/aicluster/ca.crt"
    assert site.shell(standby, f"{ask} '{where} {trust}'").strip() == "t"
    with pytest.raises(RuntimeError, match="no encryption"):
        site.shell(standby, f"{ask} '{where} sslmode=disable'")


def certificate() -> str:
    return ssl.get_server_certificate((GATEWAY.address, PORT))


def started(node: site.Node, service: str) -> str:
    """When the container of a service was started."""
    asked = f"{site.COMPOSE} ps --quiet {service} | xargs docker inspect -f '{{{{.State.StartedAt}}}}'"
    return site.shell(node, asked)


def test_a_renewal_under_load_fails_no_request(api_key, record_property):
    before, since = certificate(), started(GATEWAY, "nginx")
    try:
        with Load(lambda: http_client.post(f"{URL}/api/v1/chat", QUESTION, api_key)) as load:
            run = site.run_site("-e", '{"nginx_names": ["renewed.local"]}', "--limit", GATEWAY.address)
            time.sleep(2)
        renewed = certificate()
    finally:
        back = site.run_site("--limit", GATEWAY.address)
    back.succeeded()
    assert "~ reload container nginx" in run.succeeded().output
    assert renewed != before == certificate(), "the same site issues the same certificate"
    assert started(GATEWAY, "nginx") == since
    assert load.failed() == []
    record_property("requests", len(load.answers))


# A year's certificate comes early: one for a name more.
RENEWED = (
    "{{ site_secrets.site_ca | node_certificate(cluster_ca_limits, "
    "[cluster_domain, 'renewed.' ~ site_domain], cluster_node.address, successor=none) | trim }}"
)


@pytest.mark.full
def test_certificates_between_nodes_are_renewed_under_load_and_no_server_is_restarted(api_key):
    names = ("postgres", "redis", "minio")
    servers = [(node, name) for name in names for node in site.running(name)]
    [store] = site.running("minio")
    live = f"https://{store.address}:{store.port('minio', 'api')}/minio/health/live"
    mine = RENEWED.replace("['renewed.' ~ site_domain]", "[__minio_name, 'renewed.' ~ site_domain]")
    before = [started(*server) for server in servers]
    try:
        with (
            Load(lambda: http_client.post(f"{URL}/api/v1/chat", QUESTION, api_key)) as load,
            site.opened(store, store.port("minio", "api")),
            Load(lambda: http_client.get(live)) as objects,
        ):
            renewed = {"cluster_certificate": RENEWED, "__minio_certificate": mine}
            run = site.run_site("-e", json.dumps(renewed))
            time.sleep(2)
        all_is_healthy()
    finally:
        back = site.run_site()
    assert run.code == back.code == 0, run.output
    assert {f"~ reload container {service}" in run.output for _, service in servers} == {True}
    assert [started(*server) for server in servers] == before
    assert load.failed() + objects.failed() == []


def issued_wrongly(how: str) -> str:
    """A certificate that no client should take, with its key."""
    secret, where = (site.variable(GATEWAY, name) for name in ("site_secrets.site_ca", "cluster_ca_limits"))
    if how == "for others":
        return certificates.node_certificate(secret, where, [f"other.{where[1]}"], PAGES.address)
    if how == "of another CA":
        other = certificates.new_ca_secret(datetime.now(UTC))
        return certificates.node_certificate(other, where, [NAME], GATEWAY.address)
    # As the CA issued it, had it been made in 2020.
    early = f"2020-01-31.{secret.partition('.')[2]}"
    return certificates.node_certificate(early, where, [NAME], GATEWAY.address, now=datetime(2021, 1, 1))


@pytest.mark.full
@pytest.mark.parametrize(("how", "said"), [
    ("expired", "expired"),
    ("for others", "mismatch|not valid for"),
    ("of another CA", "self.signed|unable to get|signature"),
])  # fmt: skip
def test_a_certificate_that_no_client_takes_is_named_by_verify_and_replaced_by_a_run(ca, how, said):
    before, file = certificate(), "/opt/aicluster/nginx/secrets/tls.pem"
    try:
        site.shell(GATEWAY, f"echo {shlex.quote(issued_wrongly(how))} >{file}")
        assert curl("--cacert", str(ca), f"{URL}/healthz")[0] == UNTRUSTED
        evidence = verify("--limit", GATEWAY.address).failure("nginx", GATEWAY.name)["evidence"]
        assert re.search(said, evidence), evidence
    finally:
        site.run_site("--limit", GATEWAY.address).succeeded()
    assert certificate() == before
