"""pgAdmin answers, and the operators' password opens it with every PostgreSQL in its list."""

import json
import re
from urllib.parse import urlencode

from aicluster_verify import Answer, Broken, Kit

SERVERS = "/opt/aicluster/pgadmin/servers.json"
PROVISION = (
    "sudo docker compose --project-directory /opt/aicluster exec -T pgadmin "
    "/venv/bin/python3 /opt/aicluster/bin/provision.py"
)
RESTART = "sudo docker compose --project-directory /opt/aicluster restart pgadmin"


def cookie(answer: Answer) -> str:
    """Return the session an answer gives, as the header that shows it again."""
    found = re.search(r"pga4_session=[^;]+", str(answer.headers.get("Set-Cookie", "")))
    if not found:
        raise Broken("no session in the answer: %s" % answer.text.strip()[:200])
    return found.group()
