"""A host with guests is cut off the LAN and fenced through its BMC."""
import time

TITLE = "LAN cut, IPMI fencing, restart elsewhere"
SETUP = {"fencing": "ipmi"}


def run(w):
    vm = w.names()[0]
    old = w.host_of(vm)
    moved = [v for v in w.names() if w.host_of(v) == old]
    before = {v: w.beats()[v] for v in moved}
    at = time.time()
    for nic in ("nic0", "nic1"):
        w.rig.power("link", old, nic, "down")
    w.time.mark("LAN of %s (%s) cut" % (old, ", ".join(moved)))
    w.take_over(moved, old, before, at)
    w.back(old)
