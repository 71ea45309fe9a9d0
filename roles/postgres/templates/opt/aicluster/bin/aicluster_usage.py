#!/usr/bin/env python3
"""Writes how many answers and tokens each user had of each model for node_exporter's textfile collector.

usage: aicluster_usage.py INTERVAL_S DATABASE
"""

import json
import sys

from aicluster_textfile import hand_out, text
from aicluster_verify import ROOT, CheckError, Kit

PSQL = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username", "postgres", "--dbname"]
# Yields samples. A standby has the same rows; the primary alone tells them.
SQL = """
SELECT coalesce(json_agg(json_build_array('aicluster_' || what, json_strip_nulls(labels), value)), '[]')
FROM history.usage JOIN history.users ON id = user_id, LATERAL (VALUES ('answers_total', NULL, answers),
  ('tokens_total', 'prompt', prompt_tokens), ('tokens_total', 'completion', completion_tokens))
  AS counted (what, kind, value), json_build_object('user', consumer, 'model', model, 'kind', kind) AS labels
WHERE NOT pg_is_in_recovery()
"""
HELP = {"aicluster_tokens_total": "Tokens of stored exchanges.", "aicluster_answers_total": "Stored answers."}


def look() -> str:
    """Return the metrics of this moment, none where the database does not answer: old ones would look new."""
    with open(ROOT + "/verify.json") as handle:
        kit = Kit(json.load(handle), "usage")
    try:
        return text(json.loads(kit.execute("postgres", [*PSQL, sys.argv[2], "--command", SQL])), HELP)
    except CheckError as error:
        print(error, file=sys.stderr, flush=True)
        return ""


if __name__ == "__main__":
    hand_out("aicluster_usage", float(sys.argv[1]), look)
