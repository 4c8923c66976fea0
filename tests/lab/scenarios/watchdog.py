"""No fence device at all but the watchdog in the host: cut off the LAN, the host is reset by it, and the others wait
until that must have happened."""
import time

import world

TITLE = "LAN cut, the hardware watchdog alone"
SETUP = {"fencing": "watchdog"}


def run(w):
    vm = w.names()[0]
    old = w.host_of(vm)
    n = world.node(old)
    moved = [v for v in w.names() if w.host_of(v) == old]
    w.wait("%s guarded by a hardware watchdog" % old,
           lambda: w.get("host", old)["status"]["lease"].get("watchdog") == "Hardware"
           and w.condition("host", old, "WatchdogArmed").get("status") == "True", 120)
    before = {v: w.beats()[v] for v in moved}
    count = w.rig.ready_count(n)
    inc = w.incarnation(old)
    at = time.time()
    for nic in ("nic0", "nic1"):
        w.rig.power("link", old, nic, "down")
    w.time.mark("LAN of %s (%s) cut" % (old, ", ".join(moved)))
    w.take_over(moved, old, before, at, proof="Watchdog", seconds=600)
    resets = [t for t, text in w.rig.events() if t > at and text.startswith(old) and "watchdog" in text]
    world.check(resets, "%s was not reset by its watchdog" % old)
    w.time.mark("the watchdog had reset %s %.1f s after the cut" % (old, resets[0] - at))
    for v in moved:
        last = max(r[1] for i, recs in w.beats()[v].items() if i in before[v] for r in recs)
        world.check(last / 1000.0 < resets[0] + 3, "%s wrote after the reset" % v)
        w.time.mark("%s: last record of the old instance %.1f s after the cut" % (v, last / 1000.0 - at))
    for nic in ("nic0", "nic1"):
        w.rig.power("link", old, nic, "up")
    w.rig.wait_ready(n, count)
    w.wait("%s registered anew" % old, lambda: w.incarnation(old) > inc, 300)
    w.wait_hosts(hosts=[n])
