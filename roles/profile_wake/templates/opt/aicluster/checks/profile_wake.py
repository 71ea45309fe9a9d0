"""The service that switches profiles for requests lets the gateway in, and nobody else."""

from aicluster_verify import CheckError, Kit

UNAUTHORIZED = 401


def check(kit: Kit) -> str:
    """Ask for the profile with the token, and without."""
    url = kit.url("profile_wake", "wake")
    if kit.http(url).status != UNAUTHORIZED:
        raise CheckError("answers without its token", "systemctl status aicluster-wake")
    token = {"Authorization": "Bearer " + kit.secret("profile_wake", "token")}
    return "ready; profile {} is active".format(kit.expect(url, headers=token).json()["profile"])
