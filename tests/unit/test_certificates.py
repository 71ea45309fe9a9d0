"""Certificates of web pages: what the site's CA issues, as OpenSSL takes it, and what others lack."""

import json
import os
import re
import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

import aicluster_verify
import pytest
import render
import site_preflight
from a_kit import ScriptedKit, check_of, failure_of, site
from aicluster_verify import Kit
from cryptography import x509
from site_description import errors_of, production

from aicluster.errors import SiteError
from aicluster.gateway import certificates
from aicluster.gateway.certificates import ca_certificate, node_certificate, own_problems, successor_months
from aicluster.preflight.secrets import flaw_of

SITE = ("lab", "example.org", "127.0.0.0/8")
NAMES, ADDRESS = ["pi51.example.org", "ai.example.org"], "127.0.0.1"
MADE = datetime(2026, 5, 20, tzinfo=UTC)


def on(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


@cache
def secret(other: int = 0) -> str:
    return certificates.new_ca_secret(MADE + timedelta(other))


def issued(day: str = "2026-11-30", names=NAMES, address=ADDRESS, successor=False, ca=None) -> str:
    return node_certificate(ca or secret(), SITE, names, address, successor, on(day))


def parts(text: str) -> tuple[str, str]:
    certificate, _, key = text.partition("-----BEGIN PRIVATE KEY")
    return certificate, "-----BEGIN PRIVATE KEY" + key


def ends(text: str) -> datetime:
    return x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc


def verified(folder, text: str, *options: str) -> str:
    """What `openssl verify` says of a certificate."""
    (folder / "ca.crt").write_text(ca_certificate(secret(), SITE))
    (folder / "tls.pem").write_text(text)
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-CAfile",
        folder / "ca.crt",
        *options,
        folder / "tls.pem",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def at(day: str) -> tuple[str, str]:
    return "-attime", str(int(on(day).timestamp()))


OPENSSL: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "it is valid for its first name": ({}, ("-verify_hostname", NAMES[0], *at("2026-11-30")), "OK"),
    "for another one": ({}, ("-verify_hostname", NAMES[1], *at("2026-11-30")), "OK"),
    "for the address": ({}, ("-verify_ip", ADDRESS, *at("2026-11-30")), "OK"),
    "not for anything else": (
        {}, ("-verify_hostname", "pi52.example.org", *at("2026-11-30")), "hostname mismatch"),
    "on its last day": ({}, at("2027-05-30"), "OK"),
    "not after its end": ({}, at("2027-06-01"), "certificate has expired"),
    "its successor is valid before its turn": ({"successor": True}, at("2027-04-30"), "OK"),
    "a name outside the domain is refused": (
        {"names": ["www.example.com"]}, at("2026-11-30"), "permitted subtree violation"),
    "an address outside the network is refused": (
        {"address": "192.0.2.1"}, at("2026-11-30"), "permitted subtree violation"),
    "another CA is not trusted": ({"ca": 1}, at("2026-11-30"), "unable to get local issuer certificate"),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "options", "said"), OPENSSL.values(), ids=OPENSSL)
def test_openssl_takes_a_certificate_for_what_it_is(tmp_path, changed, options, said):
    if "ca" in changed:
        other = certificates.node_certificate(
            secret(1), ("other", *SITE[1:]), NAMES, ADDRESS, False, on("2026-11-30")
        )
        assert said in verified(tmp_path, other, *options)
    else:
        assert said in verified(tmp_path, issued(**changed), *options)


def test_the_same_day_issues_the_same_bytes_and_another_name_others():
    assert issued() == issued()
    certificates.authority.cache_clear()
    assert issued("2027-04-30") == issued("2026-05-20") == issued()
    assert issued(names=NAMES[:1]) != issued()


DAYS = ["2026-05-20", "2027-04-30", "2027-05-01", "2028-02-29", "2031-12-31", "2034-06-01", "2035-05-01"]


@pytest.mark.parametrize("day", DAYS)
def test_on_any_day_a_month_is_left_and_no_certificate_is_valid_for_too_long(day):
    text = issued(day)
    certificate = x509.load_pem_x509_certificate(text.encode())
    assert certificate.not_valid_before_utc <= on(day) - timedelta(days=1) or day == DAYS[0]
    assert ends(text) - on(day) >= timedelta(days=30)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=397)


@pytest.mark.parametrize(("before", "after"), [*pairwise(DAYS[1:3]), ("2034-04-30", "2034-05-01")])
def test_a_node_changes_to_the_successor_when_a_run_would_and_knows_it_a_year_before(before, after):
    assert issued(before, successor=True) == issued(after)
    months = successor_months(secret(), on(before))
    assert after[:7] == months[0] and before[:7] not in months
    assert ends(issued(before, successor=True)).strftime("%Y-%m") == months[-1]


def test_the_ca_lasts_ten_years_and_can_be_named_too_old():
    assert ends(ca_certificate(secret(), SITE)) == on("2036-05-20")
    assert not [*certificates.ca_problems(secret(), on("2036-04-01"))]
    assert [*certificates.ca_problems(secret(), on("2036-04-30"))] == ["is of a CA that ends on 2036-05-20"]
    assert ends(issued("2036-04-30")) <= on("2036-05-20")
    assert certificates.ca_ends(on("2028-02-29")) == on("2038-02-28")


@pytest.mark.parametrize("text", ["", "made-up-site-ca", "2026-05-20.", "2026-05-20.AAAA", "x.AAAA", 7])
def test_what_is_no_ca_is_refused_without_a_word_of_it(text):
    assert [*certificates.ca_problems(text, MADE)] == ["is no day, dot and private key"]
    with pytest.raises(SiteError, match=r"site_ca \(hidden\): must be a day"):
        ca_certificate(str(text), SITE)


def test_make_secrets_writes_a_ca_that_every_program_reads_unchanged():
    assert flaw_of(secret()) is None
    described = site_preflight.secrets_of({"site_secrets_file": "v", "site_secrets": {"site_ca": secret()}})
    assert described["malformed"] == {} and described["ca_problem"] is None


# ---------------------------------------------------------------- certificates of other CAs

OWN: dict[str, tuple[dict[str, Any], str]] = {
    "it is for a name": ({}, ""),
    "it is for the address": ({"names": ["x.example.com"]}, ""),
    "it is a wildcard": ({"certificate": issued(names=["*.example.org"], address="10.0.0.1")}, ""),
    "a wildcard is for one label": (
        {"certificate": issued(names=["*.org"], address="10.0.0.1")},
        "names neither pi51.example.org nor ai.example.org nor 127.0.0.1"),
    "it is somebody else's": (
        {"names": ["x.example.com"], "address": "127.0.0.2"}, "names neither x.example.com nor 127.0.0.2"),
    "the key is another's": ({"key": parts(issued(address="127.0.0.9"))[1]}, "does not match its key"),
    "the key is none": ({"key": "secret"}, "has a key that is no private key in PEM"),
    "it is none": ({"certificate": "x"}, "is no certificate in PEM"),
    "it ends in six days": ({"now": on("2027-05-25")}, "ends on 2027-05-31"),
    "it ends in eight": ({"now": on("2027-05-23")}, ""),
    "it is not valid yet": ({"now": on("2026-04-29")}, "begins on 2026-04-30"),
    "it has ended": ({"now": on("2028-01-01")}, "ends on 2027-05-31"),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "problem"), OWN.values(), ids=OWN)
def test_what_is_wrong_with_a_certificate_is_said(changed, problem):
    text = changed.get("certificate", issued())
    given = {
        "certificate": text,
        "key": parts(text)[1] or parts(issued())[1],
        "names": NAMES,
        "address": ADDRESS,
    }
    said = [*own_problems(**{**given, "now": on("2026-11-30"), **changed})]
    assert (said == []) if not problem else (len(said) == 1 and problem in said[0])


def given(text: str) -> dict[str, str]:
    return dict(zip(("certificate", "key"), parts(text), strict=True))


PI51, NANO = "192.168.1.147", "192.168.1.159"  # which serves no TLS
OF_PI51 = issued(names=["pi51.local"])
PREFLIGHT: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "a good one, also for a name outside the domain": (
        {"nginx_names": ["ai.example.org"]}, given(OF_PI51), ""),
    "a certificate of another node": (
        {}, given(issued()),
        f"site_tls_certificate of PI51 ({PI51}) 'tls/own.pem' names neither pi51.local nor {PI51}: must be"),
    "public names beside it": (
        {"nginx_acme_domains": ["ai.example.org"], "nginx_acme_email": "a@example.org"}, given(OF_PI51),
        f"nginx_acme_domains of PI51 ({PI51}) ['ai.example.org']: must be empty with site_tls_certificate; "),
    "a file that is not there": ({}, {"problem": "cannot be read, gone"}, "own.pem' cannot be read, gone"),
}  # fmt: skip


@pytest.mark.parametrize(("variables", "own", "message"), PREFLIGHT.values(), ids=PREFLIGHT)
def test_a_run_is_refused_before_a_node_is_touched(variables, own, message):
    described = production() | {"now": on("2026-11-30")}
    described["hosts"][PI51].update(variables)
    described["certificates"] = {host: {"file": "tls/own.pem", **own} for host in (PI51, NANO)}
    said = [error for error in errors_of(described) if "site_tls" in error]
    assert (said == []) if not message else (len(said) == 1 and message in said[0])


def test_a_ca_that_ends_is_named_with_what_to_do():
    described = production()
    described["secrets"]["ca_problem"] = "is of a CA that ends on 2036-05-20"
    [said] = errors_of(described)
    assert said.startswith("secret site_ca (hidden) is of a CA that ends on 2036-05-20: must be")


def test_two_paths_take_the_place_of_the_sites_ca(monkeypatch, tmp_path):
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    for path, text in zip((certificate, key), parts(issued()), strict=True):
        path.write_text(text)
    chosen = render.choose(monkeypatch, site_tls_certificate=str(certificate), site_tls_key=str(key))
    files = render.render_role("nginx", overrides=chosen)
    assert files["/opt/aicluster/nginx/secrets/tls.pem"].strip() == issued().strip()
    assert not [path for path in files if path.endswith(("ca.crt", "ca.html", "tls_next.pem"))]
    assert "/ca.html" not in files["/opt/aicluster/nginx/conf/html/index.html"]
    assert "$tls" not in files["/opt/aicluster/nginx/conf/servers/https.conf"]
    hostvars = render.site("production").hostvars[PI51]
    described = site_preflight.own_certificate(hostvars)
    assert described == {
        "file": str(certificate),
        "certificate": certificate.read_text(),
        "key": key.read_text(),
    }
    key.unlink()
    gone = site_preflight.own_certificate(render.site("production").hostvars[PI51])
    assert gone is not None and "cannot be read" in gone["problem"]


# ---------------------------------------------------------------- verify, against a real server

SERVED: dict[str, tuple[dict[str, Any], str]] = {
    "it is good": ({}, ""),
    "it has ended": ({"day": "2026-05-20", "ca": -900}, "certificate has expired"),
    "it is for another node": (
        {"names": ["pi52.example.org"], "address": "127.0.0.2"}, "certificate is not valid for"),
    "it is of another CA": ({"foreign": True}, "local issuer certificate"),
    "it is none": ({"plain": True}, "https://127.0.0.1:"),
}  # fmt: skip


@pytest.fixture
def server(tmp_path):
    """Serve a certificate to whoever comes; the port."""
    listening = socket.create_server((ADDRESS, 0))

    def serve(text: str | None, starttls: str = "") -> int:
        (tmp_path / "served.pem").write_text(text or "")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        if text:
            context.load_cert_chain(tmp_path / "served.pem")

        def answer() -> None:
            with suppress(OSError):
                while True:
                    client = listening.accept()[0]
                    with suppress(OSError), client:
                        if not text:
                            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                            continue
                        if starttls:
                            assert client.recv(8) == aicluster_verify.STARTTLS[starttls]
                            client.sendall(b"S")
                        with context.wrap_socket(client, server_side=True) as tls:
                            tls.recv(100)
                            tls.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        return int(listening.getsockname()[1])

    yield serve
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def authority_and_certificate(served: dict[str, Any]) -> tuple[str, str]:
    """The secret of the CA that is trusted, and the certificate that is served."""
    made = datetime.now(UTC) + timedelta(served.get("ca", 0))
    ca = certificates.new_ca_secret(made)
    issuer = certificates.new_ca_secret(datetime.now(UTC)) if served.get("foreign") else ca
    names, address = served.get("names", NAMES), served.get("address", ADDRESS)
    return ca, issued(f"{made:%Y-%m-%d}", names, address, ca=issuer)


@pytest.mark.parametrize(("served", "said"), SERVED.values(), ids=SERVED)
def test_verify_names_what_is_wrong_with_the_certificate(server, tmp_path, monkeypatch, served, said):
    check = check_of("nginx")
    ca, text = authority_and_certificate(served)
    port = server(None if served.get("plain") else text)
    (tmp_path / "ca.crt").write_text(ca_certificate(ca, SITE))
    (tmp_path / "nginx.json").write_text(
        json.dumps({"names": NAMES, "trusted": str(tmp_path / "ca.crt"), "public": []})
    )
    monkeypatch.setattr(check, "WANTED", str(tmp_path / "nginx.json"))
    monkeypatch.setattr(check, "without_tls", lambda _kit: "seen")
    kit = Kit(site("N", {"nginx": {"https": port}}), "run-1")
    kit.services["nginx"]["ports"]["https"]["published"] = ADDRESS
    if said:
        failure = failure_of(check.check, kit)
        assert said in failure.evidence and failure.next_command.startswith(
            "openssl s_client -connect 127.0.0.1"
        )
        return
    assert check.check(kit).startswith("seen; its certificate is valid for ")
    monkeypatch.setattr(aicluster_verify, "SOON_DAYS", 1000)
    assert check.check(kit)[1].startswith("the certificate ends in ")
    # That of another CA is its own proof, if the whole file is what is trusted.
    (tmp_path / "ca.crt").write_text(text)
    assert check.check(kit)


ACME: dict[str, tuple[str, str, str]] = {
    "it is good": (NAMES[1], "inactive", ""),
    "it is not renewed": (
        NAMES[1], "failed", "the last renewal by https://acme.test/d failed: Detail: no such host"),
    "the name has another one": (
        "www.example.com", "failed", "https://www.example.com has no certificate of https://acme.test/d: "),
}  # fmt: skip


@pytest.mark.parametrize(("name", "state", "said"), ACME.values(), ids=ACME)
def test_verify_repeats_what_an_acme_server_says(server, tmp_path, monkeypatch, name, state, said):
    check, (_, served), file = check_of("nginx"), authority_and_certificate({}), tmp_path / "acme.pem"
    file.write_text(served)
    wanted = {"names": NAMES, "trusted": str(file), "public": [name], "server": "https://acme.test/d"}
    (tmp_path / "nginx.json").write_text(json.dumps(wanted))
    monkeypatch.setattr(check, "ACME", str(file))
    monkeypatch.setattr(check, "WANTED", str(tmp_path / "nginx.json"))
    monkeypatch.setattr(check, "without_tls", lambda _kit: "seen")
    commands = {
        "systemctl show *": f"ActiveState={state}\n",
        "journalctl *": "x\n  Detail: no such host\nHint\n",
    }
    kit = ScriptedKit(site("N", {"nginx": {"https": server(served)}}), {}, commands)
    kit.services["nginx"]["ports"]["https"]["published"] = ADDRESS
    if name not in NAMES:
        failure = failure_of(check.check, kit).evidence
        assert failure.startswith(said) and failure.endswith("; Detail: no such host")
        return
    seen = check.check(kit)
    assert seen[1] == said if said else seen.startswith("seen; its certificate is valid for ")


CERTBOT = """#!/bin/sh
[ "$1 $2" = "certonly --force-renewal" ] || exit 1
mkdir -p {0}/live/acme.test && cd {0}/live/acme.test && echo chain > fullchain.pem && echo key > privkey.pem
"""


def test_until_an_acme_server_issues_one_the_certificate_of_the_site_is_served(tmp_path, monkeypatch):
    chosen = {"nginx_acme_domains": NAMES, "nginx_acme_server": "https://acme.test/d"}
    files = render.render_role("nginx", overrides=chosen, entry={"uid": os.getuid()})
    program = files["/opt/aicluster/bin/aicluster-acme"].replace("certonly", 'certonly "$@"')
    assert f" --domain {NAMES[0]} --domain {NAMES[1]} " in program
    program = re.sub("/opt/[a-z/]*/secrets|/var/lib/[a-z/]*", str(tmp_path), program)
    for name, text in {"tls.pem": "site", "curl": "#!/bin/sh\n", "certbot": CERTBOT.format(tmp_path)}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for argument, text in (("", "site"), ("--force-renewal", "chain\nkey\n"), ("", "chain\nkey\n")):
        done = subprocess.run(["sh", "-c", program, "acme", argument], check=False)
        assert (done.returncode, (tmp_path / "acme.pem").read_text()) == (0 if argument else 1, text)
    assert (tmp_path / "acme.pem").lstat().st_mode == 0o100400


@pytest.mark.parametrize("starttls", ["", "postgres"])
@pytest.mark.parametrize(("served", "said"), SERVED.values(), ids=SERVED)
def test_so_does_the_check_of_any_service_with_tls(server, tmp_path, monkeypatch, served, said, starttls):
    ca, text = authority_and_certificate(served)
    port = server(None if served.get("plain") else text, starttls)
    monkeypatch.setattr(aicluster_verify, "ROOT", str(tmp_path))
    (tmp_path / "ca.crt").write_text(ca_certificate(ca, SITE))
    kit = Kit(site("N", {"store": {"api": port}}), "run-1")
    kit.services["store"]["ports"]["api"] |= {"published": ADDRESS, "tls": True}
    if said:
        failure = failure_of(lambda one: one.certificate("store", "api", "seen", starttls), kit)
        assert failure.evidence.startswith("TLS on 127.0.0.1:")
        assert said in failure.evidence or served.get("plain")
        assert failure.next_command.startswith("openssl s_client")
        if not starttls:
            refused = failure_of(lambda one: one.http(one.url("store", "api")), kit)
            assert "https://127.0.0.1" in refused.evidence
        return
    assert str(kit.certificate("store", "api", "seen", starttls)).startswith("seen; its certificate is valid")
    monkeypatch.setattr(aicluster_verify, "SOON_DAYS", 1000)
    warning = kit.certificate("store", "api", ("seen", "its standby is away"), starttls)[1]
    assert warning.startswith("its standby is away; the certificate ends in ")
    if not starttls:
        assert kit.expect(kit.url("store", "api")).status == 200


@pytest.mark.parametrize(("successor", "last"), [(False, "2027-05-31"), (None, "2028-05-31")])
def test_what_no_successor_follows_is_valid_for_a_year_more(successor, last):
    assert f"{ends(issued(successor=successor)):%Y-%m-%d}" == last
