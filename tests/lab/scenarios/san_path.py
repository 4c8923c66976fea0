"""One of two paths to the SAN is cut and healed: guests go on over the other one."""
import time

import disk
import world

TITLE = "SAN path cut and healed"
SETUP = {}


def paths(w, n, state):
    return w.rig.sh(n, "multipath -ll").count(state)


def run(w):
    vm = w.names()[0]
    host = w.host_of(vm)
    n = world.node(host)
    inst = w.instance(vm)
    w.rig.power("link", host, "nic2", "down")
    w.time.mark("first storage network of %s cut" % host)
    w.wait("one path failed", lambda: paths(w, n, "active ready") == 1 and paths(w, n, "failed") == 1, 120)
    w.time.mark("multipath: one path failed")
    w.still(w.names(), 25, "one path")
    w.rig.power("link", host, "nic2", "up")
    w.wait("both paths back", lambda: paths(w, n, "active ready") == 2, 180)
    w.time.mark("both paths are back")
    time.sleep(3)
    w.time.mark("longest pause of %s: %d ms" % (vm, disk.longest_gap(w.beats(), vm, inst)))
    w.still(w.names(), 10, "healed")
