"""A line of a password file: what nginx compares a password with."""

import base64
import hashlib

import pytest

from aicluster.errors import SiteError
from aicluster.gateway.passwords import password_line


def test_a_line_holds_what_nginx_computes_from_a_password():
    user, hashed = password_line("secret", "operator", "site").split(":")
    scheme, text = hashed[:6], base64.b64decode(hashed[6:])
    assert (user, scheme) == ("operator", "{SSHA}")
    assert text[:20] == hashlib.sha1(b"secret" + text[20:], usedforsecurity=False).digest()
    assert "secret" not in hashed


@pytest.mark.parametrize("user", ["", "a:b", "a\nb"])
def test_a_user_no_line_can_hold_is_refused(user):
    with pytest.raises(SiteError, match="must be a name without a colon"):
        password_line("secret", user, "site")
