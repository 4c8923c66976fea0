#!/usr/bin/env python3
"""Hosts that crash and boot again by themselves: one, then a majority at once.  Their registration is the proof; their
power is never cut for what is over, and nobody has to switch anything on."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chaos_test as chaos  # noqa: E402
import cluster as dev  # noqa: E402

VMS = ["vm%d" % i for i in range(6)]


def cut_by_pdu(c):
    with open(os.path.join(c.dir, "devd.log"), errors="replace") as f:
        return [line for line in f if "outlet switched off" in line]


def reset(c, *hosts):
    before = {h: c.get("host", h)["status"]["incarnation"] for h in hosts}
    for h in hosts:
        c.dev("reset", h)
    for h in hosts:
        c.wait("%s is back as a new incarnation" % h, lambda h=h: (c.get("host", h) or before_obj(before, h))
               ["status"]["incarnation"] > before[h], 60)
    c.wait_hosts(seconds=30)
    c.wait_running(*VMS, seconds=30)
    dev.check(not cut_by_pdu(c), "power was cut: %s" % cut_by_pdu(c))
    c.check_single_writer()


def before_obj(before, host):
    """While there is no quorum nothing can be read."""
    return {"status": {"incarnation": before[host]}}


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        hosts = "".join(chaos.HOST % (h, i + 1, i + 1, i + 1) for i, h in enumerate(chaos.HOSTS))
        c.apply(chaos.BASE % "Off" + hosts + "".join(chaos.VM % (vm, "256Mi", "Running", 0) for vm in VMS))
        c.wait_hosts()
        c.wait_running(*VMS)
        leader = c.get("cluster", "cluster")["status"]["leader"]
        followers = [h for h in chaos.HOSTS if h != leader]
        reset(c, followers[0])
        reset(c, *followers)
        reset(c, c.get("cluster", "cluster")["status"]["leader"])


dev.main(test)
