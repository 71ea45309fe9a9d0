"""What `site_users` says of the gateway's users, against the models of nodes."""

from collections.abc import Iterator

from ..gateway.users import FILE, checked, user_problems, user_secrets
from ..models import normalise
from ..site.rules import suggestion
from .models import known_names
from .subjects import Site, shared


def user_errors(site: Site) -> Iterator[str]:
    """Yield mistakes in the list of users."""
    yield from user_problems(shared(site, "site_users"))


def key_secrets(site: Site) -> list[str]:
    """Return the secrets that are keys of users; none while the list of users has mistakes."""
    users = shared(site, "site_users")
    return [] if any(user_problems(users)) else user_secrets(users)


def user_model_errors(site: Site) -> Iterator[str]:
    """Yield models that a user may use and no node has."""
    names = known_names(site)
    for user in checked(shared(site, "site_users")):
        for model in user.get("models", []):
            if normalise(model) not in names:
                yield (
                    f"model of user {user['name']} of site_users {model!r}: must be a model or alias of a "
                    f"node; {suggestion(model, names.values())} in {FILE}"
                )
