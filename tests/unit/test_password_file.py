"""A line of a password file, as nginx reads it."""

import pytest

from aicluster.errors import SiteError
from aicluster.gateway.passwords import password_line


@pytest.mark.parametrize("user", ["", "a:b", "a\nb"])
def test_a_user_no_line_can_hold_is_refused(user):
    with pytest.raises(SiteError, match="must be a name without a colon"):
        password_line("secret", user, "site")
