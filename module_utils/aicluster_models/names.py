"""Names of models: [host/][namespace/]model[:tag]."""


def complete(name):
    """Return a name without the public registry and with its tag: 'library/Llama3.2' -> 'Llama3.2:latest'."""
    for prefix in ("registry.ollama.ai/", "library/"):
        if name.lower().startswith(prefix):
            name = name[len(prefix) :]
    return name if ":" in name.rsplit("/", 1)[-1] else name + ":latest"


def normalise(name):
    """Return the key under which names are compared: a registry minds capitals, a server does not."""
    return complete(name).lower()


def public_address(name):
    """Return (repository, tag) of a model of the public registry, None for one that names another."""
    path, tag = complete(name).rsplit(":", 1)
    if path.count("/") > 1:
        return None
    return path if "/" in path else "library/" + path, tag


def name_on(mirror, name):
    """Return the name a public model has on a mirror: 'phi3:mini' -> 'host:port/library/phi3:mini'."""
    return "%s/%s:%s" % ((mirror,) + public_address(name))
