"""The one error a user of the lab sees."""


class LabError(Exception):
    """Something the user can fix. The text names the object, its value, the rule and the fix."""
