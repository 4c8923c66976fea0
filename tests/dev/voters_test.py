#!/usr/bin/env python3
"""Five voters survive the loss of two, the leader and the host of a machine among them; two hosts and a witness (a voter
without an agent) survive the loss of one host. Either way the machines run again and nothing was written twice."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

BOOK = os.path.join(dev.ROOT, "examples", "book-cluster.yaml")


def book_for_two():
    """The book's cluster without its third host, on a link that two hosts have."""
    with open(BOOK) as f:
        docs = f.read().split("\n---\n")
    docs = [d for d in docs if "name: node3" not in d and "metadata: {name: node3-drac}" not in d]
    return "\n---\n".join(docs)


def power_off(c, host):
    c.dev("power", host, "off")


def quorum(c):
    c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)


def write(c, n):
    c.apply("apiVersion: picket/v1\nkind: NetworkCheck\nmetadata: {name: w%d}\nspec: {targets: [10.9.9.9]}\n" % n)


def leader(c):
    return c.wait("a leader", lambda: (c.get("cluster", "cluster") or {}).get("status", {}).get("leader"), 30)


def five():
    with dev.Cluster(5) as c:
        quorum(c)
        c.apply(path=BOOK)
        c.wait_hosts(["node1", "node2", "node3"])
        c.wait_running("vm1", "vm2")
        c.wait("five voters", lambda: len([v for v in c.get("cluster", "cluster")["status"].get("voters", [])
                                           if v["role"] == "Voter" and v["reachable"]]) == 5)
        lost = [c.host_of("vm1")]
        second = leader(c)
        if second == lost[0]:
            second = next(n for n in ("node4", "node5"))
        lost.append(second)
        for h in lost:
            power_off(c, h)
        write(c, 1)
        c.wait("vm1 away from %s" % lost, lambda: c.phase("vm1") == "Running" and c.host_of("vm1") not in lost + [""],
               90)
        c.wait_running("vm1", "vm2")
        write(c, 2)
        c.check_single_writer()


def two_and_witness():
    with dev.Cluster(2) as c:
        quorum(c)
        c.apply(book_for_two())
        c.wait_hosts(["node1", "node2"])
        c.wait_running("vm1", "vm2")
        voters = {v["name"] for v in c.get("cluster", "cluster")["status"]["voters"] if v["role"] == "Voter"}
        dev.check(voters == {"node1", "node2", "witness"}, "voters: %s" % voters)
        dev.check({h["metadata"]["name"] for h in c.items("hosts")} == {"node1", "node2"}, "the witness is no host")
        lost = c.host_of("vm1")
        power_off(c, lost)
        c.wait("vm1 away from %s" % lost, lambda: c.phase("vm1") == "Running" and c.host_of("vm1") not in (lost, ""),
               90)
        c.wait_running("vm1", "vm2")
        write(c, 1)
        c.check_single_writer()


def test():
    five()
    two_and_witness()


dev.main(test)
