#!/usr/bin/env python3
"""Two links between the hosts: cutting either costs no election and no write, agents go on, and the Host says it."""

import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

NAMES = ["node1", "node2", "node3"]


def hosts_yaml():
    return "---\n".join("apiVersion: picket/v1\nkind: Host\nmetadata: {name: %s}\n"
                        "spec: {addresses: [10.7.1.%d, 10.7.2.%d]}\n" % (n, i + 1, i + 1)
                        for i, n in enumerate(NAMES))


def leader_and_term(c):
    m = json.loads(c.run("member", "list", "-o", "json").stdout)
    return m["leader"], m["term"]


def cut(c, link):
    for i, a in enumerate(NAMES):
        for b in NAMES[i + 1:]:
            c.dev("cut", a, "--from", b, "--link", str(link))


def write(c, n):
    c.apply("apiVersion: picket/v1\nkind: NetworkCheck\nmetadata: {name: c%d}\n"
            "spec: {targets: [10.9.9.9]}\n" % n)


def links_text(c, name):
    return " ".join(str(x.get("message")) for x in (c.get("host", name) or {}).get("status", {}).get("conditions", []))


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        c.apply(hosts_yaml())
        c.wait_hosts()
        # Links begin over the first address; those that began elsewhere go back within seconds.
        time.sleep(6)
        before = leader_and_term(c)
        n = 0
        for link in (1, 2):
            cut(c, link)
            for _ in range(10):
                n += 1
                write(c, n)
                time.sleep(0.1)
            dev.check(leader_and_term(c) == before,
                      "link %d was cut: %s became %s" % (link, before, leader_and_term(c)))
            c.wait("the hosts say that one of two links answers",
                   lambda: any("1 of 2 links answer" in links_text(c, h) for h in NAMES), 60)
            for h in NAMES:
                dev.check(c.condition("host", h, "Ready").get("status") == "True", "%s is not ready" % h)
            c.dev("heal")
            c.wait("both links answer",
                   lambda: not any("1 of 2 links answer" in links_text(c, h) for h in NAMES), 60)
            time.sleep(6)  # back to the first address
        dev.check(leader_and_term(c) == before, "healing cost an election: %s, %s" % (before, leader_and_term(c)))

        # Both links of one host: now it is gone, and the others go on.
        dev.check(c.items("fencings") == [], "somebody was fenced: %s" % c.items("fencings"))
        second = c.log_lines(r"peer=node\d .*link=2 .*linked")
        dev.check(second, "no peer link ever went over the second address")


dev.main(test)
