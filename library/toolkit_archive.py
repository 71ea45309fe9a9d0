"""Documentation of the action in action_plugins/toolkit_archive.py; nothing of it runs on a node."""

DOCUMENTATION = r"""
module: toolkit_archive
short_description: Pack the toolkit and the Python it runs on
description:
  - Writes two tar.gz on the controller, one of its own files and one of the libraries it runs on. No secret
    and no file that ansible-vault encrypted is in them. They are gone when the run ends.
options:
  links:
    description: Symbolic links to add to the toolkit, path in it to where it leads on the node. One more,
      C(lib), leads to the libraries, in a folder C(lib) beside that of the release, under their digest.
    type: dict
    default: {}
  secret: {description: "The file of secrets, which stays on the controller.", type: str, required: true}
"""
