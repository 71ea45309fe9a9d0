// Live health of the portal page: what Prometheus knows of every service, asked every half minute.
"use strict";

const EVERY_MS = 30000;
const WORDS = {
  ok: "well", starting: "starting", asleep: "asleep in this profile", broken: "not well", unknown: "nothing is known of it",
};

// Answer of Prometheus -> "NODE service" -> state, and "NODE" -> broken for a node that is gone.
function states(answer) {
  const found = new Map();
  for (const {metric} of answer.data.result) {
    if (metric.name) found.set(`${metric.node} ${metric.name}`, metric.state);
    else found.set(metric.node, "broken");
  }
  return found;
}

function show(found) {
  const counts = {ok: 0, starting: 0, asleep: 0, broken: 0, unknown: 0};
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
    [counts.starting, "starting"], [counts.asleep, "asleep"], [counts.broken, "not well"], [counts.unknown, "unknown"],
  ];
  const rest = others.filter(([count]) => count).map(([count, word]) => `, ${count} ${word}`).join("");
  say(`${counts.ok} of ${all} services are well${rest}`, counts.broken ? "broken" : counts.unknown ? "unknown" : "ok");
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
