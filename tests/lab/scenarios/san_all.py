"""All paths of one host to the SAN are cut, and healed: its guests stand still, nobody else starts them, they go on."""
import time

import disk
import world

TITLE = "all SAN paths of one host cut and healed"
SETUP = {}


def run(w):
    vm = w.names()[0]
    host = w.host_of(vm)
    n = world.node(host)
    inst = w.instance(vm)
    inc = w.incarnation(host)
    for nic in ("nic2", "nic3"):
        w.rig.power("link", host, nic, "down")
    at = time.time()
    w.time.mark("both storage networks of %s cut" % host)
    w.wait("no path left", lambda: w.rig.sh(n, "multipath -ll").count("active ready") == 0, 120)
    w.time.mark("multipath: no path left")
    last = disk.last_beat(w.beats(), vm)
    time.sleep(20)
    world.check(disk.last_beat(w.beats(), vm) == last, "%s writes without a path" % vm)
    for nic in ("nic2", "nic3"):
        w.rig.power("link", host, nic, "up")
    w.wait("paths are back", lambda: w.rig.sh(n, "multipath -ll").count("active ready") == 2, 180)
    healed = time.time()
    w.time.mark("both paths are back")
    now = w.wait_beat(vm, healed * 1000)
    w.time.mark("%s writes again after %.1f s, %s" % (vm, now[0] / 1000.0 - at, "the same instance" if now[1] == inst else "a new one"))
    world.check(w.incarnation(host) == inc, "%s was reset or fenced" % host)
    w.wait_running(*w.names())
