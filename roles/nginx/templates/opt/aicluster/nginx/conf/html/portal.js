// Live health of the portal page: what Prometheus knows of every service, asked every half minute.
"use strict";

const EVERY_MS = 30000;
const WORDS = {
  healthy: "healthy", starting: "starting", inactive: "inactive in this profile", failed: "failed", unknown: "unknown",
};

// Answer of Prometheus -> "NODE service" -> state, and "NODE" -> failed for a node that is gone.
function states(answer) {
  const found = new Map();
  for (const {metric} of answer.data.result) {
    if (metric.name) found.set(`${metric.node} ${metric.name}`, metric.state);
    else found.set(metric.node, "failed");
  }
  return found;
}

function show(found) {
  const counts = {healthy: 0, starting: 0, inactive: 0, failed: 0, unknown: 0};
  for (const item of document.querySelectorAll("li[data-service]")) {
    const {node, service} = item.dataset;
    const said = found.get(node) || found.get(`${node} ${service}`);
    const state = said in WORDS ? said : "unknown";
    item.dataset.state = state;
    item.querySelector(".dot").title = WORDS[state];
    counts[state] += 1;
  }
  const all = Object.values(counts).reduce((sum, count) => sum + count);
  const others = [
    [counts.starting, "starting"], [counts.inactive, "inactive"], [counts.failed, "failed"], [counts.unknown, "unknown"],
  ];
  const rest = others.filter(([count]) => count).map(([count, word]) => `, ${count} ${word}`).join("");
  const worst = counts.failed ? "failed" : counts.unknown ? "unknown" : "healthy";
  say(`${counts.healthy} of ${all} services are healthy${rest}`, worst);
}

function say(text, state) {
  const pill = document.getElementById("summary");
  pill.textContent = text;
  pill.dataset.state = state;
}

// How the gateway balances: what each node answers, or that it is drained.
async function showShares() {
  const answer = await fetch("/shares.json", {cache: "no-store"});
  if (!answer.ok) return;
  const said = await answer.json();
  for (const place of document.querySelectorAll(".share")) {
    const what = said[place.dataset.node];
    place.textContent = what ? ` · ${what}` : "";
  }
}

async function look() {
  try {
    const answer = await fetch("/portal/health", {cache: "no-store"});
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    show(states(await answer.json()));
  } catch (error) {
    show(new Map());
    say(`health is not known: Prometheus ${error.message}`, "unknown");
  }
}

if (document.getElementById("summary")) {
  showShares();
  look();
  setInterval(look, EVERY_MS);
}
