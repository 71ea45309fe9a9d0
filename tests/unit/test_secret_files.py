"""Secrets are in files for one reader and nowhere else, whatever the service."""

import pytest
import render
import tree

CASES = [
    (inventory, host, service)
    for inventory in sorted(render.SOURCES)
    for service in sorted(tree.catalogue())
    for host in render.hosts_running(service, inventory)
]


@pytest.mark.parametrize(("inventory", "host", "service"), CASES)
def test_a_secret_is_only_in_files_that_one_user_reads(inventory, host, service):
    values, uid = render.made_up_secrets().values(), tree.catalogue()[service].get("uid", 0)
    for file in render.files_of(service, inventory, host):
        held = [value for value in values if value in file.content.decode()]
        assert not held or file.secret, f"{file.path} holds {held}"
        assert not file.secret or (file.mode, file.uid) == ("0400", uid), file.path


# Where Debian and Ubuntu number people; nobody has two thousand of them on a board.
PEOPLE = range(1000, 2000)


@pytest.mark.parametrize("service", [name for name, entry in tree.catalogue().items() if entry["secrets"]])
def test_secret_files_do_not_belong_to_a_person_of_the_board(service):
    assert tree.catalogue()[service].get("uid", 0) not in PEOPLE
