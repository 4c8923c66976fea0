"""A Bridge object takes a host's address away.  The agent makes the change, does not reach the quorum, and undoes it."""
import re

import world

TITLE = "a wrong bridge change rolled back"
# The bridge has to be Picket's own: of one that it found it takes nothing away.
SETUP = {"hosts": 3, "links": 2, "luns": 2, "storage": "services", "network": "plain", "book": True,
         "guests": (("vm1", "PV"), ("vm2", "PVH"))}

BRIDGE = """apiVersion: picket/v1
kind: Bridge
metadata: {name: br0}
spec:
  ports: [bond0]
  stp: false
  forwardDelay: 0s
  commitTimeout: 20s
  perHost:
    node1: {addresses: [%s]}
    node2: {addresses: [10.77.0.12/24]}
    node3: {addresses: [10.77.0.13/24]}
"""


def address(w):
    return " ".join(re.findall(r"inet (\S+)", w.rig.sh(1, "ip -4 addr show br0")))


def run(w):
    inc = w.incarnation("node1")
    # Its leases go over the first storage network, too: with both links the change would cut nothing off.
    w.rig.power("link", "node1", "nic2", "down")
    w.wait("node1 goes on over one link", lambda: w.condition("host", "node1", "Ready").get("status") == "True", 120)
    w.apply(BRIDGE % "10.77.9.11/24")
    w.time.mark("br0 of node1 is to have an address that nobody reaches")
    w.wait("the wrong address is there and the right one gone", lambda: address(w) == "10.77.9.11/24", 120)
    w.time.mark("changed")
    w.wait("the old address is back", lambda: address(w) == "10.77.0.11/24", 120)
    w.time.mark("undone")
    w.wait("the object says so", lambda: "RolledBack" in w.picket("get", "bridge", "br0", "-o", "json").stdout, 120)
    w.apply(BRIDGE % "10.77.0.11/24")
    w.rig.power("link", "node1", "nic2", "up")
    w.wait_hosts()
    world.check(w.incarnation("node1") == inc, "node1 was reset")
    w.still(w.names(), 10, "after it")
