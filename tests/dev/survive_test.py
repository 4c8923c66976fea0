#!/usr/bin/env python3
"""Kill -9 of any one process never touches a guest, and the cluster converges again without a person."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

BOOK = os.path.join(dev.ROOT, "examples", "book-cluster.yaml")


def who(c):
    """{disk: set of (host, incarnation, token)} that ever wrote."""
    return {d: {(h, i, t) for _, h, _, i, t in lines} for d, lines in c.writers().items()}


def counts(c):
    return {d: len(lines) for d, lines in c.writers().items()}


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        c.apply(path=BOOK)
        c.wait_running("vm1", "vm2")
        before = who(c)
        host = c.host_of("vm1")
        leader = c.get("cluster", "cluster")["status"]["leader"]
        for h, process in ((host, "picket-agent"), (host, "picketd"), (host, "picket-watchdog"),
                           (leader, "picketd")):
            c.dev("kill", h, process)
            n = counts(c)
            c.wait("guests go on writing after kill of %s on %s" % (process, h),
                   lambda: all(v > n[k] for k, v in counts(c).items()), 10)
            c.wait("the cluster answers", lambda: c.run("get", "vm", check_rc=False).returncode == 0, 30)
            c.wait_hosts(seconds=30)
            c.wait_running("vm1", "vm2", seconds=30)
        dev.check(who(c) == before, "a guest was restarted: %s, before %s" % (who(c), before))
        dev.check(c.items("fencings") == [], "somebody was fenced")
        c.check_single_writer()


dev.main(test)
