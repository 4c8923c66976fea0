#!/usr/bin/env python3
"""Fence devices before they are needed: probes by every picketd, `picket fence test`, an executor that reaches the
device when the leader does not, and a power cycle that proves the wiring."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

BOOK = os.path.join(dev.ROOT, "examples", "book-cluster.yaml")
NODES = ("node1", "node2", "node3")


def apply(c):
    text = open(BOOK).read().replace("startupGrace: 20s", "startupGrace: 1s").replace(
        "maxPerWindow: 2", "maxPerWindow: 20").replace(
        "- devices: [node1-drac]                    # level 1\n", "")
    c.apply(text)
    c.run("apply", "-f", "-", stdin=text)
    for d in c.items("fencedevices"):
        if d["metadata"]["name"] == "rack1-pdu":
            spec = dict(d["spec"], probeInterval="5s")
            c.apply(dev.json.dumps({"apiVersion": "picket/v1", "kind": "FenceDevice",
                                    "metadata": {"name": "rack1-pdu"}, "spec": spec}))


def probes(c):
    return c.get("fencedevice", "rack1-pdu").get("status", {}).get("probes", {})


def seen_by_all(c):
    c.wait("everybody has probed the PDU",
           lambda: sorted(k for k, v in probes(c).items() if v["result"] == "Succeeded") == list(NODES), 60)
    c.wait("the hosts can be fenced",
           lambda: all(c.condition("host", h, "FencingReady").get("status") == "True" for h in NODES), 60)


def leader(c):
    return c.get("cluster", "cluster")["status"]["leader"]


def tested(c):
    """fence test: who could; it switches nothing."""
    p = c.run("fence", "test", "node2", timeout=120)
    for word in ("rack1-pdu (ApcSnmp, proves Power, wiring never proved)", "can switch it off: ", "power On"):
        dev.check(word in p.stdout, "fence test does not say \"%s\":\n%s" % (word, p.stdout))
    line = [x for x in p.stdout.splitlines() if "can switch it off" in x][0]
    dev.check("node1" in line and "node3" in line and "node2" not in line, line)
    dev.check(all(h["status"]["incarnationState"] == "Live" for h in c.items("hosts")), "somebody was fenced")
    p = c.run("fence", "test", "node2", "-o", "json", timeout=120)
    dev.check(dev.json.loads(p.stdout)["levels"][0]["devices"][0]["executors"][0]["result"] == "Succeeded", p.stdout)
    p = c.run("fence", "test", "nobody", check_rc=False)
    dev.check(p.returncode == 3, "fence test of no host: exit %d %s" % (p.returncode, p.stderr))


def other_executor(c):
    """The leader loses the PDU: that is seen, and a host is fenced by the one that still reaches it."""
    lead = leader(c)
    c.dev("cut", lead, "--from", "pdu")
    c.wait("the PDU is not reached from everywhere",
           lambda: c.condition("fencedevice", "rack1-pdu", "Ready").get("reason") == "NotFromEverywhere" and
           probes(c).get(lead, {}).get("result") != "Succeeded", 60)
    p = c.run("fence", "test", [h for h in NODES if h != lead][0], timeout=120)
    dev.check("FAIL  %s" % lead in p.stdout, "fence test does not name %s:\n%s" % (lead, p.stdout))
    victim = [h for h in (c.host_of("vm1"), c.host_of("vm2")) if h != lead]
    if not victim:
        print("both VMs are on the leader: its host is not the victim here")
        c.dev("heal", lead)
        return
    third = [h for h in NODES if h not in (lead, victim[0])][0]
    c.dev("power", victim[0], "off")
    c.wait("a fencing succeeded", lambda: any(f["status"]["state"] == "Succeeded" for f in c.items("fencings")), 60)
    f = [f for f in c.items("fencings") if f["status"]["state"] == "Succeeded"][-1]
    dev.check(f["status"]["executor"] == third and f["status"]["attempt"] == 1,
              "fenced by %s in attempt %d, not by %s" % (f["status"]["executor"], f["status"]["attempt"], third))
    c.dev("heal", lead)
    c.dev("power", victim[0], "on")
    c.wait_hosts()
    c.wait_running("vm1", "vm2")


def cycled(c):
    """--cycle: not while guests are there; then off, on, and it is recorded for this generation."""
    busy = c.host_of("vm1")
    seen_by_all(c)
    p = c.run("fence", "test", "--cycle", busy, "--yes", check_rc=False)
    dev.check(p.returncode == 4 and "drain" in p.stderr, "a host with guests was cycled: %s%s" % (p.stdout, p.stderr))
    c.run("drain", busy, timeout=120)
    c.wait("the host says that it is empty", lambda: c.get("host", busy)["status"].get("guests", 0) == 0, 30)
    dev.check(c.condition("host", busy, "WiringProved").get("status") == "False", "proved before it was cycled")
    old = c.get("host", busy)["status"]["incarnation"]
    p = c.run("fence", "test", "--cycle", busy, "--yes", "--timeout", "60s", timeout=200)
    dev.check("its wiring is proved" in p.stdout, p.stdout + p.stderr)
    dev.check(c.get("host", busy)["status"]["incarnation"] > old, "the same boot is back")
    c.wait("the condition follows", lambda: c.condition("host", busy, "WiringProved").get("status") == "True", 20)
    p = c.run("fence", "test", busy, timeout=120)
    dev.check("wiring proved" in p.stdout, p.stdout)
    c.run("uncordon", busy)
    # another generation of the device: what was seen says nothing about it
    spec = dict(c.get("fencedevice", "rack1-pdu")["spec"], maxConcurrent=2)
    c.apply(dev.json.dumps({"apiVersion": "picket/v1", "kind": "FenceDevice", "metadata": {"name": "rack1-pdu"},
                            "spec": spec}))
    c.wait("the proof is void", lambda: c.condition("host", busy, "WiringProved").get("status") == "False", 20)


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        apply(c)
        c.wait_hosts()
        c.wait_running("vm1", "vm2")
        seen_by_all(c)
        tested(c)
        other_executor(c)
        cycled(c)
        c.check_single_writer()


dev.main(test)
