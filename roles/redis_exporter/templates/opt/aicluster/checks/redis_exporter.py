"""The exporter has asked Redis, and Redis has answered."""

from aicluster_verify import CheckError, Kit


def check(kit: Kit) -> str:
    """`redis_up` says that it could sign in; the memory comes from Redis itself."""
    lines = kit.expect(kit.url("redis_exporter", "metrics", "/metrics")).text.splitlines()
    if "redis_up 1" not in lines:
        seen = [line for line in lines if line.startswith(("redis_up", "redis_exporter_last_scrape_error{"))]
        raise CheckError("Redis does not answer it: %s" % ("; ".join(seen) or "no redis_up"))
    used = [line for line in lines if line.startswith("redis_memory_used_bytes ")]
    if not used:
        raise CheckError("it has no number of Redis")
    return "Redis answers; it uses %.1f MiB" % (float(used[0].split()[1]) / (1 << 20))
