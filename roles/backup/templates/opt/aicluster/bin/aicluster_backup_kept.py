"""What checks of services ask: whether a store of this node is empty although its newest backup has data."""

import contextlib
import os
from typing import Callable, Sequence

import aicluster_backup_job as work
import aicluster_backup_record as record
from aicluster_backup_restore import moment, snapshots
from aicluster_backup_tools import FailedError, objects
from aicluster_verify import CheckError


def require_kept(job: str, what: str, words: str, ask: Sequence[str], count: Callable[[str], int]) -> None:
    """Raise CheckError, of what is empty, if the newest snapshot of its job has some of it.

    `words`: of the restore; `ask`: a verb of restic and words; `count`: how much its answer about a snapshot
    tells. The first store that answers is asked.
    """
    plan, service = record.plan(), work.service_of(job)
    for number, _ in enumerate(plan["stores"], 1):
        with contextlib.suppress(FailedError):
            for one in [one for one in snapshots(number) if job in (one["tags"] or ())][:1]:
                said = work.restic(ask[0], number, [one["id"], *ask[1:]])
                if said.code:
                    continue
                had = count(said.out)
                if not had:
                    return
                raise CheckError(
                    "%s is empty, and the backup of %s has %d of it; if that is intended: "
                    "sudo systemctl start aicluster-backup" % (what, moment(one), had),
                    "ansible-playbook playbooks/restore.yml -e 'node=%s service=%s copy=%d %s'"
                    % (plan["node"], service, number, words),
                )


def files_in(listing: str) -> int:
    """Return how many files restic lists; hidden ones programs make by themselves."""
    return sum(one.get("type") == "file" and "/." not in one["path"] for one in objects(listing))


def require_files(job: str, what: str, folder: str, path: str, words: str) -> None:
    """Do the same for a folder and its path in snapshots."""
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        if any(name[0] != "." for name in names):
            return
    require_kept(job, what, words, ["ls", "--recursive", path], files_in)
