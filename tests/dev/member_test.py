#!/usr/bin/env python3
"""`picket member`: list, hand over, demote, promote, refuse what would lose the majority, remove."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402


def members(c):
    p = c.run("member", "list", "-o", "json", check_rc=False)
    return {m["name"]: m for m in json.loads(p.stdout)["items"]} if p.returncode == 0 else {}


def roles(c):
    return {n: m["role"] for n, m in members(c).items()}


def secret(c, name):
    """Something that has to be committed."""
    c.apply(text="apiVersion: picket/v1\nkind: Secret\nmetadata: {name: %s}\nstringData: {a: b}\n" % name)


def test():
    with dev.Cluster(3) as c:
        c.wait("three voters that are reachable",
               lambda: [m["reachable"] for m in members(c).values()] == [True] * 3, 30)
        for to in ("node2", "node3", "node1"):
            dev.check("%s leads" % to in c.run("member", "transfer", to).stdout, "no transfer to %s" % to)
        c.run("member", "transfer")
        dev.check(not members(c)["node1"]["leader"], "leadership did not move")
        # Every member may be demoted and promoted, the leader too: it hands over first.
        for n in ("node1", "node2", "node3"):
            c.run("member", "demote", n)
            dev.check(roles(c)[n] == "standby", "%s is %s" % (n, roles(c)))
            secret(c, "s-" + n)
            c.run("member", "promote", n)
            dev.check(roles(c)[n] == "voter", "%s is %s" % (n, roles(c)))
        p = c.run("member", "promote", "node9", check_rc=False)
        dev.check(p.returncode == 3 and "node9" in p.stderr, p.stderr)
        p = c.run("member", "add", "node1", "--address", "node1:1", check_rc=False)
        dev.check(p.returncode != 0 and "already" in p.stderr, p.stderr)
        p = c.run("member", "add", "node8", "--address", "nonsense", check_rc=False)
        dev.check(p.returncode == 1 and "IP:PORT" in p.stderr, p.stderr)

        c.run("member", "transfer", "node1")
        c.dev("stop", "node3", "picketd")
        c.wait("node3 unreachable", lambda: members(c).get("node3", {}).get("reachable") is False, 20)
        p = c.run("member", "remove", "node2", check_rc=False)
        dev.check(p.returncode == 4 and "no majority" in p.stderr, "%d %s" % (p.returncode, p.stderr))
        c.run("member", "remove", "node3")
        dev.check(sorted(roles(c)) == ["node1", "node2"], "members: %s" % roles(c))
        secret(c, "last")


dev.main(test)
