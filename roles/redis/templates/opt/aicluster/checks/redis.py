"""A key is set, read and removed, with the password and as any client would."""

from aicluster_verify import CheckError, Kit, Seen

# The password comes from its file: a command line would show it. Answers count, redis-cli always ends with 0.
CLIENT = 'REDISCLI_AUTH="$(cat /run/secrets/redis/password)" exec redis-cli --no-auth-warning'
TTL_S = 60


def check(kit: Kit) -> Seen:
    """The key goes by itself if the check dies between setting and removing it."""
    key, value = "aicluster:verify:%s:%s" % (kit.run_id, kit.node), "written by verify"
    port = kit.services["redis"]["ports"]["local"]["container"]
    for words, expected in (
        (["SET", key, value, "EX", str(TTL_S)], "OK"),
        (["GET", key], value),
        (["DEL", key], "1"),
    ):
        argv = ["sh", "-c", CLIENT + ' -h 127.0.0.1 -p "$@"', "sh", str(port)] + words
        answer = kit.execute("redis", argv).strip()
        if answer != expected:
            raise CheckError("%s answered %r instead of %r" % (words[0], answer[:200], expected))
    return kit.certificate("redis", "redis", "key set, read and removed")
