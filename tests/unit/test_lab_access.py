"""Keys, secrets and the card: made once, kept, readable by their owner only."""

import stat
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import SimpleNamespace

import pytest
from aicluster_lab import access, card
from aicluster_lab.sitedata import Node, Site


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(
        root=tmp_path,
        network=IPv4Network("198.18.77.0/24"),
        router=IPv4Address("198.18.77.1"),
        registry=(IPv4Address("198.18.77.2"), 5000),
        nodes=(Node("PI51", IPv4Address("198.18.77.147"), 8192),),
        images=(),
        gateway_url="http://198.18.77.147",
    )


def test_the_key_is_made_once_and_is_private_and_half_a_key_is_replaced(site):
    public = access.ensure_key(site.private_key)
    assert public.startswith("ssh-ed25519 ")
    assert public == access.ensure_key(site.private_key)
    assert (mode(site.private_key), mode(site.private_key.parent)) == (0o600, 0o700)
    site.private_key.with_suffix(".pub").unlink()
    assert access.ensure_key(site.private_key) != public


def test_the_card_prints_a_request_to_try(site):
    text = card.card_text(card.make_card(site, {"kong_api_key": "the key"}), site.state)
    assert "curl --noproxy '*' -sS http://198.18.77.147/api/v1/chat -H 'apikey: the key'" in text
    assert "PI51   198.18.77.147" in text


def test_a_lab_whose_services_need_no_secret_has_an_empty_file_of_them(site, monkeypatch):
    monkeypatch.setattr(access, "ansible", lambda *_: "ansible-playbook")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: SimpleNamespace(returncode=0))
    assert access.ensure_secrets(site) == {}
    assert site.secrets_file.read_text() == "{}\n", "every run of a playbook reads it"
    assert mode(site.secrets_file) == 0o600
