"""Tells whether a restored copy of Grafana is good: its database is sound, and somebody can log in."""

from aicluster_backup_tools import FailedError
from aicluster_drill_kit import Answer, main, sqlite_rows, staged


def drill(folder: str) -> Answer:
    """Read the database."""
    rows = sqlite_rows(staged(folder, "grafana_data", "grafana.db"), ["user"])
    if not rows["user"]:
        raise FailedError("grafana.db has no user")
    return {"evidence": "grafana.db is sound and has %d users" % rows["user"], "rows": rows}


if __name__ == "__main__":
    main(drill)
