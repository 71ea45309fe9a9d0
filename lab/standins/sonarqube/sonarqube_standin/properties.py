"""Settings as SonarQube reads them: a Java properties file, and what its values must be."""

import re

SHORTEST_PASSWORD = 12
CLASSES = {
    "one uppercase character": r"[A-Z]",
    "one lowercase character": r"[a-z]",
    "one digit": r"[0-9]",
    "one special character": r"[^A-Za-z0-9]",
}


def properties(text: str) -> dict[str, str]:
    """Return name -> value of a properties file with lines `name=value`, of which Java skips blanks first."""
    lines = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: re.sub(r"\\(.)", r"\1", value.lstrip()) for name, _, value in lines}


def weakness(password: str) -> str:
    """Return why SonarQube refuses a new password; an empty text if it does not."""
    if len(password) < SHORTEST_PASSWORD:
        return f"Password must be at least {SHORTEST_PASSWORD} characters long"
    missing = [what for what, sign in CLASSES.items() if not re.search(sign, password)]
    return f"Password must contain at least {missing[0]}" if missing else ""
