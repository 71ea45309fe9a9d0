"""Gives the operators' user the password of the secret file and unlocks it; says `changed` if it had to.

Runs inside the container, with pgAdmin's own modules: its command line would show the password to `ps`.
"""

import builtins
import importlib
import os
import sys

# Read by pgAdmin's config.py while it is imported, as in run_pgadmin.py of the image.
vars(builtins)["SERVER_MODE"] = True
# Set by the image's entry point for its own children only.
os.environ.setdefault("CONFIG_DISTRO_FILE_PATH", os.environ["PGADMIN_CUSTOM_CONFIG_DISTRO_FILE"])


def main() -> int:
    """Return the exit status; 1 if there is no user of that address."""
    email = os.environ["PGADMIN_DEFAULT_EMAIL"]
    with open(os.environ["AICLUSTER_PASSWORD_FILE"]) as handle:
        password = handle.read().rstrip("\n")
    # First: pgAdmin's modules import each other in a circle that opens only here.
    importlib.import_module("config")
    create_app = importlib.import_module("pgadmin").create_app
    model = importlib.import_module("pgadmin.model")
    hashing = importlib.import_module("flask_security.utils")
    with create_app("pgadmin-provision").test_request_context():
        user = model.User.query.filter_by(username=email, auth_source="internal").first()
        if user is None:
            sys.stderr.write("No user %s: it is made at the first start, on an empty volume.\n" % email)
            return 1
        # The attempt after the last allowed one locks; counted ones are forgotten before it comes to that.
        if hashing.verify_password(password, user.password) and not (user.locked or user.login_attempts):
            return 0
        user.password, user.locked, user.login_attempts = hashing.hash_password(password), False, 0
        model.db.session.commit()
    sys.stdout.write("changed\n")
    return 0


sys.exit(main())
