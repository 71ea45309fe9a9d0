"""What the folders of the services say, as a variable of the group `all`.

Not a lookup plugin: each worker process would read the files again, about 15 ms per task and node. This one
reads them once, together with the inventory, and costs what the same text in group_vars did.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.vars import BaseVarsPlugin
from ansible.template import trust_as_template

try:
    from aicluster.site.catalogue import services_in
except ImportError:

    def services_in(roles: Path) -> dict[str, Any]:
        """Stand in for what is not there."""
        del roles
        checkout = Path(__file__).resolve().parents[1]
        raise ValueError(f"Python does not find {checkout}/aicluster; run `make setup` there")


DOCUMENTATION = """
name: service_definitions
short_description: what each service is, from its role
description:
  - Gives the group C(all) the variable C(service_definitions), service name to what C(meta/service.yml) in
    the role of that name says, wherever Ansible is configured to look for roles.
  - What a service deploys to a node (C(packages), C(units), C(files), C(containers), C(provision)) is for the
    engine alone and left out.
  - C(group_vars/all/cluster.yml) merges C(service_overrides) into it, which makes C(service_catalogue).
options:
  stage:
    description: When the files are read; by default once, together with the inventory.
    type: str
    choices: [all, task, inventory]
    default: inventory
"""


def trusted(value: object) -> object:
    """Return a value whose texts are templates, as those of group_vars are."""
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


@cache
def definitions(*folders: str) -> object:
    """Return what the services in folders of roles say; raise AnsibleError for files that are no YAML."""
    try:
        return trusted(
            {name: said for folder in reversed(folders) for name, said in services_in(Path(folder)).items()}
        )
    except ValueError as error:
        raise AnsibleError(str(error)) from error


class VarsModule(BaseVarsPlugin):
    """Ansible's entry point."""

    is_stateless = True

    def get_vars(self, _loader: object, _path: str, entities: Iterable[Any]) -> dict[str, object]:
        """Return the variables of one host or group."""
        if [entity.name for entity in entities] != ["all"]:
            return {}
        return {"service_definitions": definitions(*constants.DEFAULT_ROLES_PATH)}
