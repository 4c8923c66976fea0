#!/usr/bin/env python3
"""Three picketds lose their majority "for good", node1 is recovered, and then the others come back after all: they are
refused, told why, end and never start again, so that they cannot decide anything among themselves."""

import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402
import picketds  # noqa: E402


def recover(c):
    out = c.run("recover", "--name", "node1", "--address", "%s:%d" % (c.ip("node1"), c.port + 1), "--data",
                c.path("node1", "data"), "--lost-for-good").stdout
    dev.check("id 4, epoch 2" in out, out)
    c.unconf("node1", "bootstrap")
    c.unconf("node1", "id ")
    c.conf("node1", "id = 4")
    c.start("node1")
    c.wait("node1 leads alone", lambda: c.view("node1").get("role") == "leader")
    dev.check(c.view("node1")["epoch"] == 2, "view: %s" % c.view("node1"))
    dev.check([m["id"] for m in c.members().values()] == [4], "members: %s" % c.members())


def comes_back(c, host):
    """One old voter: a reason on both sides, an end, and no second start."""
    c.start(host)
    c.wait("%s ends" % host, lambda: c.ended(host) == 1, 30)
    dev.check("node1 is in epoch 2 of this cluster, this member in epoch 1" in c.log(host), c.log(host)[-800:])
    dev.check("it is of epoch 1, this cluster is in epoch 2" in c.log("node1"), "no reason in the log of node1")
    del c.procs[host]
    c.start(host)
    c.wait("%s does not start again" % host, lambda: c.ended(host) == 1, 30)
    dev.check("superseded" in c.log(host) and "enrol it anew" in c.log(host), c.log(host)[-800:])
    del c.procs[host]
    out = c.run("store", "check", c.path(host, "data")).stdout
    dev.check("superseded: node1 is in epoch 2" in out and "ok: every byte" in out, out)


def enrolled_anew(c, host):
    os.rename(c.path(host), c.path(host) + ".old")
    token = c.run("token", "create", "--voter").stdout.strip()
    c.run("join", token, *c.args(host))
    c.start(host)
    c.wait("%s votes" % host, lambda: c.members().get(host, {}).get("role") == "voter")
    c.wait("%s has the state" % host, lambda: c.view(host).get("epoch") == 2 and c.count(host, "key") == 12)


def test():
    with picketds.Picketds() as c:
        c.form(3)
        for i in range(10):
            dev.check(c.put("node%d" % (i % 3 + 1), "key%d" % i, "x")[0] == 200, "put")
        c.wait("epoch 1 is known everywhere", lambda: all(os.path.exists(c.path(h, "data", "store", "epoch"))
                                                          for h in ("node1", "node2", "node3")))
        for h in ("node1", "node2", "node3"):
            c.stop(h, signal.SIGKILL)
        recover(c)
        dev.check(c.put("node1", "key-new", "x")[0] == 200, "put after the recovery")
        comes_back(c, "node2")
        comes_back(c, "node3")
        dev.check(c.put("node1", "key-newer", "x")[0] == 200, "put beside refused voters")
        dev.check(c.count("node1", "key") == 12, "keys: %d" % c.count("node1", "key"))
        enrolled_anew(c, "node2")
        for host in list(c.procs):
            c.stop(host, signal.SIGKILL)


dev.main(test)
