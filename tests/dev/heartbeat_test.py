#!/usr/bin/env python3
"""Storage heartbeat: evidence that contradicts a person's word and the watchdog's time, and nothing more."""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

BOOK = os.path.join(dev.ROOT, "examples", "book-cluster.yaml")
NODES = ("node1", "node2", "node3")
EXTRA = """
---
apiVersion: picket/v1
kind: FenceDevice
metadata: {name: by-hand}
spec: {type: Manual}
---
apiVersion: picket/v1
kind: Volume
metadata: {name: heartbeat}
spec: {volumeGroup: vg0, size: 4Mi, access: Shared}
"""


def book():
    text = open(BOOK).read().replace("startupGrace: 20s", "startupGrace: 1s").replace(
        "maxPerWindow: 2", "maxPerWindow: 20, storageHeartbeat: heartbeat").replace(
        "- devices: [rack1-pdu]", "- devices: [by-hand]").replace(
        "- devices: [node1-drac]                    # level 1\n", "")
    group = [line for line in text.splitlines() if "kind: VolumeGroup" in line]
    assert group
    name = text[text.index("kind: VolumeGroup"):].split("name: ")[1].split("}")[0].split("\n")[0].strip()
    text = text.replace("onQuorumLoss: Stop", "onQuorumLoss: Freeze") if "onQuorumLoss" in text else text.replace(
        "kind: Cluster\nmetadata: {name: cluster}\nspec:\n", "kind: Cluster\nmetadata: {name: cluster}\nspec:\n  onQuorumLoss: Freeze\n")
    assert "Freeze" in text
    return text + EXTRA.replace("vg0", name)


def ready(c, host):
    return c.condition("host", host, "Ready").get("message", "")


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        c.apply(book())
        c.wait_hosts()
        c.wait_running("vm1", "vm2")
        c.wait("everybody writes", lambda: len(c.log_lines(r"signs of life are written there")) >= 3, 30)
        host = c.host_of("vm1")
        inc = c.get("host", host)["status"]["incarnation"]
        time.sleep(2)
        # S25: the network is gone, the storage is not; with Freeze its guests run on
        c.dev("cut", host)
        c.wait("the slot is shown as evidence", lambda: "its storage slot still moves" in ready(c, host), 30)
        p = c.run("confirm-off", host, "--incarnation", str(inc), "--yes", check_rc=False)
        dev.check(p.returncode != 0 and ("sign of life" in p.stderr or "alive" in p.stderr),
                  "a host whose slot moves was confirmed as off: %s%s" % (p.stdout, p.stderr))
        time.sleep(5)
        dev.check("still moves" in ready(c, host), "the slot stopped: %s" % ready(c, host))
        dev.check(c.get("host", host)["status"]["incarnationState"] in ("Lost", "Fencing"), "it was released")
        p = c.run("confirm-off", host, "--incarnation", str(inc), "--yes", check_rc=False)
        dev.check(p.returncode != 0, "a host whose slot moves was confirmed as off, long after its lease")
        # now it is really off
        c.dev("power", host, "off")
        c.wait("the slot is silent", lambda: "its storage slot is silent" in ready(c, host), 30)
        c.wait("the word is taken",
               lambda: c.run("confirm-off", host, "--incarnation", str(inc), "--yes", check_rc=False).returncode == 0, 30)
        c.wait("vm1 runs elsewhere", lambda: c.phase("vm1") == "Running" and c.host_of("vm1") != host, 30)
        c.dev("heal")
        c.dev("power", host, "on")
        c.wait_hosts()
        c.check_single_writer()


dev.main(test)
