#!/usr/bin/env python3
"""Loads new rules of the firewall on trial: unless they are confirmed, the former ones come back.

`try` loads the delivered rules, `confirm` keeps them, also for the next boot, `back` brings the former ones
back. A run confirms over a connection that it opened after `try`. Python 3.6 and its standard library are
enough.
"""

import os
import subprocess
import sys

DELIVERED = "/etc/aicluster/firewall.nft"
# What a boot loads: the last rules that were confirmed.
KEPT = "/var/lib/aicluster/firewall.nft"
# There while a trial is on; gone after a reboot, as the trial is.
FORMER = "/run/aicluster-firewall-former.nft"
TABLES = ("inet aicluster", "bridge aicluster")
ROLLBACK = "aicluster-firewall-rollback"
# Less than the minute that is promised: a small board needs a moment to start this program.
TRIAL_S = 50


def run(*command: str) -> None:
    """Run a command; raise CalledProcessError when it fails."""
    subprocess.run(command, check=True)


def loaded() -> str:
    """Return the rules that are loaded, as a file that brings them back."""
    text = ""
    for table in TABLES:
        listing = ["nft", "list", "table", *table.split()]
        done = subprocess.run(listing, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        text += "table %s\ndelete table %s\n%s" % (table, table, done.stdout.decode())
    return text


def end_timer() -> None:
    """End the timer of a trial, if there is one."""
    subprocess.run(["systemctl", "stop", ROLLBACK + ".timer"], stderr=subprocess.DEVNULL, check=False)


def write(path: str, text: str) -> None:
    """Replace a file as a whole; a power cut leaves the old one or the new one."""
    with open(path + ".new", "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(path + ".new", path)


def begin() -> None:
    """Load the delivered rules, with a timer that takes them back; a trial that is on goes on."""
    if not os.path.exists(FORMER):
        write(FORMER, loaded())
    end_timer()
    timer = ["--on-active=%d" % TRIAL_S, "--timer-property=AccuracySec=1s", "--unit", ROLLBACK]
    run("systemd-run", "--quiet", "--collect", *timer, os.path.abspath(__file__), "back")
    run("nft", "--file", DELIVERED)


def confirm() -> None:
    """End the trial and keep its rules."""
    end_timer()
    if not os.path.exists(FORMER):
        sys.exit(
            "the firewall's new rules were taken back, because nobody confirmed them within %d s" % TRIAL_S
        )
    with open(DELIVERED) as rules:
        write(KEPT, rules.read())
    os.unlink(FORMER)
    # Removing the unit takes the rules away only if it is active.
    run("systemctl", "start", "aicluster-firewall")


def back() -> None:
    """Bring back the rules of before the trial."""
    run("nft", "--file", FORMER)
    os.unlink(FORMER)


if __name__ == "__main__":
    {"try": begin, "confirm": confirm, "back": back}[sys.argv[1]]()
