"""Plain pages in place of Grafana's: a list of dashboards, and of a dashboard's panels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from .provisioning import Dashboard

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;"
    "border-top:1px solid #ccc}code{font-size:.85em;overflow-wrap:anywhere}.note{color:#666}"
)
NOTE = "This is a stand-in for Grafana: it has the dashboards and asks the data sources, but draws nothing."


def page(title: str, root: str, body: str) -> str:
    """Return a whole page; `root` is the path of the list of dashboards."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - Grafana (stand-in)</title><style>{STYLE}</style></head><body>"
        f'<p><a href="{escape(root)}/dashboards">Dashboards</a></p><h1>{escape(title)}</h1>{body}'
        f'<p class="note">{NOTE}</p></body></html>'
    )


def listing(dashboards: Iterable[Dashboard], root: str) -> str:
    """Return the page with all dashboards."""
    items = "".join(
        f'<li><a href="{escape(root)}/d/{one.uid}/{one.slug}">{escape(one.title)}</a>: '
        f"{escape(str(one.model.get('description', '')))}</li>"
        for one in dashboards
    )
    return page("Dashboards", root, f"<ul>{items}</ul>")


def dashboard_page(model: Mapping[str, Any], root: str) -> str:
    """Return the page with a dashboard's panels and what they ask."""
    rows = []
    for panel in model.get("panels", []):
        if panel.get("type") == "row":
            rows.append(f'<tr><th colspan="4">{escape(str(panel.get("title", "")))}</th></tr>')
            continue
        asked = "<br>".join(
            f"<code>{escape(str(each.get('expr', '')))}</code>" for each in panel.get("targets", [])
        )
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
        words = panel.get("description") or panel.get("options", {}).get("content", "")
        rows.append(
            f"<tr><td>{escape(str(panel.get('title', '')))}</td><td>{escape(str(panel.get('type', '')))}"
            f" {escape(str(unit))}</td><td>{escape(str(words))}</td><td>{asked}</td></tr>"
        )
    links = "".join(
        f' <a href="{escape(str(link["url"]))}">{escape(str(link["title"]))}</a>'
        for link in model.get("links", [])
        if link.get("type") == "link"
    )
    return page(str(model.get("title", "")), root, f"<p>{links}</p><table>{''.join(rows)}</table>")


def login_page(root: str, said: str) -> str:
    """Return the form to log in with."""
    form = (
        f'<form method="post" action="{escape(root)}/login">'
        '<p><label>User <input name="user" autofocus></label></p>'
        '<p><label>Password <input name="password" type="password"></label></p>'
        "<p><button>Log in</button></p></form>"
    )
    return page("Log in", root, f"<p>{escape(said)}</p>{form}")
