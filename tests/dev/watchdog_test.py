#!/usr/bin/env python3
"""No fence device at all, but a watchdog: its bound is the proof, and nothing starts before it has passed."""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

BOOK = os.path.join(dev.ROOT, "examples", "book-cluster.yaml")


def book():
    lines = []
    skip = False
    for line in open(BOOK):
        if line.startswith("  fencing:\n"):
            skip = True  # the levels of a Host
        elif skip and not line.startswith("  - devices"):
            skip = False
        if not skip:
            lines.append(line)
    return "".join(lines).replace("startupGrace: 20s", "startupGrace: 1s")


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        text = book()
        assert "- devices" not in text
        c.apply(text)
        c.wait_hosts()
        c.wait_running("vm1", "vm2")
        host = c.host_of("vm1")
        c.wait("%s is guarded" % host,
               lambda: c.get("host", host)["status"].get("lease", {}).get("guarded") is True, 20)
        time.sleep(3)  # what is offered counts once the agent has confirmed it, some heartbeats later
        c.dev("cut", host)
        c.wait("vm1 runs elsewhere", lambda: c.phase("vm1") == "Running" and c.host_of("vm1") not in ("", host), 90)
        proofs = [f["status"].get("proof") for f in c.items("fencings")]
        dev.check("Watchdog" in proofs or "Reboot" in proofs, "proofs: %s" % proofs)
        print("proofs: %s" % proofs)
        c.check_single_writer()


dev.main(test)
