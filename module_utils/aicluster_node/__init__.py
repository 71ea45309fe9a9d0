"""The node's half of the engine: Python 3.6 and its standard library.

`library/stack_node.py` runs it from the sources it is sent; modules based on AnsibleModule import it from
`ansible.module_utils.aicluster_node`. A node pays for each import with a board's CPU. So `answer` imports one
module for each verb, and what only some requests need is imported inside the function that needs it.
"""
