"""The address with which this machine is in a network."""

from __future__ import annotations

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from aicluster.site.addresses import own_address

DOCUMENTATION = """
name: controller_address
short_description: the address with which this machine is in a network
description: Nothing is sent. A machine outside the network, or without a route to it, has none there.
options:
  _terms:
    description: Networks, as the variable C(site_network).
    type: list
    elements: str
    required: true
"""
EXAMPLES = """
operators: "{{ query('controller_address', site_network) }}" # [192.168.1.10]
"""
RETURN = """
_raw: {description: The addresses., type: list, elements: str}
"""


class LookupModule(LookupBase):
    """Ansible's entry point."""

    def run(self, terms: list[str], _variables: object = None, **_options: object) -> list[str]:
        """Return the addresses."""
        try:
            return [address for term in terms if (address := own_address(term))]
        except ValueError as error:
            raise AnsibleError(str(error)) from error
