"""The users' network of one host is cut; its leases and its storage go over another one.  The NetworkCheck fails there alone, so its
guests move to where it passes, those that can live; nobody is suspected and nobody is fenced."""
import world

TITLE = "LAN of one host cut: its guests move away, nobody is fenced"
SETUP = {"links": 2}

CHECK = """apiVersion: picket/v1
kind: NetworkCheck
metadata: {name: users}
spec: {targets: [10.77.0.1], interval: %ds, failures: 3, recoveries: 3, action: MigrateAway}
"""


def reachable(w, host, status):
    return w.condition("host", host, "NetworkReachable").get("status") == status


def run(w):
    w.apply(CHECK % (4 * w.slow))
    for n in w.rig.hosts():
        w.wait("node%d passes" % n, lambda n=n: reachable(w, "node%d" % n, "True"), 120)
    old = w.host_of(w.names()[0])
    inc = w.incarnation(old)
    moved = [v for v in w.names() if w.host_of(v) == old]
    was = {v: w.instance(v) for v in moved}
    fencings = len(w.items("fencings"))
    for nic in ("nic0", "nic1"):
        w.rig.power("link", old, nic, "down")
    w.time.mark("LAN of %s (%s) cut" % (old, ", ".join(moved)))
    w.wait("%s has lost the users' network" % old, lambda: reachable(w, old, "False"), 180)
    w.time.mark("%s: %s" % (old, w.condition("host", old, "NetworkReachable").get("message")))
    for v in moved:
        w.wait("%s runs elsewhere" % v, lambda v=v: w.phase(v) == "Running" and w.host_of(v) not in ("", old), 900)
    w.still(moved, 15, "moved")
    for v, virt in w.guests:
        if v in moved:
            w.time.mark("%s (%s): %s" % (v, virt, "the same instance" if w.instance(v) == was[v] else "a new instance"))
            world.check(virt != "PVH" or w.instance(v) == was[v], "%s was started anew instead of moved live" % v)
    world.check(w.condition("host", old, "Ready").get("status") == "True", "%s is not Ready" % old)
    world.check(w.incarnation(old) == inc, "%s got a new incarnation" % old)
    world.check(len(w.items("fencings")) == fencings, "somebody was fenced")
    for nic in ("nic0", "nic1"):
        w.rig.power("link", old, nic, "up")
    w.wait("%s has it again" % old, lambda: reachable(w, old, "True"), 180)
    w.picket("delete", "networkcheck", "users")
    w.still(w.names(), 10, "healed")
