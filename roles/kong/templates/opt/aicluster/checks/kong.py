"""Kong has its configuration, reaches every AI node it balances, and lets nobody in without a key."""

from aicluster_verify import Broken, Kit

UPSTREAM = "ai-chat"
UNAUTHORIZED = 401
EMPTY = "0" * 32  # the hash of a Kong that never loaded a configuration


ASLEEP = 'aicluster_service_state{name="ollama",state="asleep"} 1'
# The state of a node's services is looked at every half minute.
LATEST_S = 40


def asleep(kit: Kit, target: str) -> bool:
    """Tell whether the node of a target says that its Ollama sleeps, because the node is in another mode."""
    address = target.partition(":")[0]
    node = next((node for node in kit.cluster if node["address"] == address), None)
    if node is None or "node_exporter" not in node["services"]:
        return False
    url = "http://%s:%d/metrics" % (address, node["services"]["node_exporter"]["ports"]["metrics"])
    try:
        return kit.wait(LATEST_S, lambda: ASLEEP in kit.http(url).text, "Ollama is awake")
    except Broken:
        return False


def check(kit: Kit) -> str:
    """Ask for readiness, configuration, health of the upstream, and a chat without a key."""
    kit.expect(kit.url("kong", "status", "/status/ready"))
    loaded = kit.expect(kit.url("kong", "status", "/status")).json().get("configuration_hash", EMPTY)
    if loaded == EMPTY:
        raise Broken("Kong runs without a configuration")
    balanced = {
        "%s:%d" % (node["address"], node["services"]["ollama"]["ports"]["api"]): node["name"]
        for node in kit.cluster
        if "ollama" in node["services"] and node["share"] != 0
    }
    if not balanced:
        return "configuration %s; there is no AI node" % loaded[:8]
    url = kit.url("kong", "admin", "/upstreams/%s/health" % UPSTREAM)
    targets = {target["target"]: target for target in kit.expect(url).json()["data"]}
    unknown = [name for target, name in balanced.items() if target not in targets]
    if unknown:
        raise Broken("Kong does not know %s" % " and ".join(unknown), "ansible-playbook site.yml")
    ill = {
        name: "%s (%s) is %s" % (balanced.get(name, "a node of no inventory"), name, target["health"])
        for name, target in targets.items()
        if target["weight"] and target["health"] != "HEALTHY"
    }
    well = [name for name, target in targets.items() if target["weight"] and name not in ill]
    awake = [name for name in ill if not well or not asleep(kit, name)]
    if awake:
        raise Broken("for Kong %s" % ", ".join(ill[name] for name in awake), "curl -s %s" % url)
    refused = kit.http(kit.url("kong", "proxy", "/api/v1/chat"), method="POST", data={})
    if refused.status != UNAUTHORIZED:
        raise Broken("a chat without a key is answered with %d instead of 401" % refused.status)
    at_work = [balanced[name] for name in well if name in balanced]
    return "configuration %s, %s healthy, no key no answer" % (loaded[:8], " and ".join(at_work))
