#!/usr/bin/python
"""Ansible module: tokens per second of models of one Ollama server."""

DOCUMENTATION = r"""
module: ollama_benchmark
short_description: Measures how many tokens per second an Ollama server generates
description:
  - Of each model the first request, which may load it, does not count; of the others the median does. Times
    are those of Ollama itself, so nothing on the way to it is measured.
options:
  url: {description: The server as the node sees it., type: str, required: true}
  models: {description: Names of models that generate text., type: list, elements: str, required: true}
"""

EXAMPLES = r"""
- name: Measure one model
  ollama_benchmark:
    url: http://192.168.1.154:11434
    models: [llama3.2:1b]
"""

RETURN = r"""
measured: {description: "Model -> {tokens_per_s, load_s: seconds, 0 if it was in memory}.", type: dict}
"""

import http.client
import json
from statistics import median
from urllib.parse import urlsplit

from ansible.module_utils.aicluster_models.server import HTTP_OK, JSON, ModelError, connect
from ansible.module_utils.basic import AnsibleModule

PROMPT = "Explain in several paragraphs how a load balancer chooses a server."
# Of a measured request at most, and of those per model; of any request at most.
TOKENS, RUNS, LIMIT_S = 128, 3, 600
NS = 1e9


def generate(params, model, tokens):
    """Return Ollama's own account of one answer. Raises ModelError."""
    options = {"num_predict": tokens, "temperature": 0, "seed": 1}
    body = {"model": model, "prompt": PROMPT, "stream": False, "options": options}
    try:
        with connect(urlsplit(params["url"]).netloc, LIMIT_S) as connection:
            connection.request("POST", "/api/generate", json.dumps(body), JSON)
            response = connection.getresponse()
            said = response.read().decode("utf-8", "replace")
        answer = json.loads(said) if response.status == HTTP_OK else {}
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ModelError("%s on %s: %s: %s" % (model, params["url"], type(error).__name__, error)) from error
    if not answer.get("eval_count") or not answer.get("eval_duration"):
        raise ModelError(
            "%s on %s: answered %d without having generated a token: %s"
            % (model, params["url"], response.status, said.strip()[:200] or "(nothing)")
        )
    return answer


def measure(params, model):
    """Return {tokens_per_s, load_s} of a model. Raises ModelError."""
    load_s = generate(params, model, 1).get("load_duration", 0) / NS
    warm = [generate(params, model, TOKENS) for _ in range(RUNS)]
    rates = [answer["eval_count"] * NS / answer["eval_duration"] for answer in warm]
    return {"tokens_per_s": round(median(rates), 1), "load_s": round(load_s, 1)}


def main():
    """Run as a module."""
    models = {"type": "list", "elements": "str", "required": True}
    module = AnsibleModule(argument_spec={"url": {"type": "str", "required": True}, "models": models})
    try:
        measured = {model: measure(module.params, model) for model in module.params["models"]}
    except ModelError as error:
        module.fail_json(
            msg="%s. Is the service up? On the node: docker compose --project-name aicluster ps" % error
        )
    module.exit_json(changed=False, measured=measured)


if __name__ == "__main__":
    main()
