"""Whether SonarQube works on the report of an analysis: the scanner has gone by then."""

import base64

from aicluster_verify import Kit


def busy(kit: Kit) -> str:
    """Return how many reports are worked on and wait, an empty text if there are none."""
    password = kit.secret("sonarqube", "admin_password")
    login = base64.b64encode("admin:{}".format(password).encode()).decode()
    url = kit.url("sonarqube", "web", "/api/ce/activity_status")
    status = kit.expect(url, headers={"Authorization": "Basic " + login}).json()
    running, waiting = status["inProgress"], status["pending"]
    return "{} reports are read, {} wait".format(running, waiting) if running or waiting else ""
