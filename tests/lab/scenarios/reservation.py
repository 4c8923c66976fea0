"""No power switch at all: a host that is cut off the LAN is cut off its disks by their persistent reservation.  Its guests say that
this is enough, and start elsewhere; the host finds its key gone and resets itself."""
import time

import world

TITLE = "LAN cut, fencing by SCSI-3 persistent reservation"
SETUP = {"fencing": "storage", "storage": "services"}


def keys(w, n):
    """{key: registrations} as host n reads them."""
    text = w.rig.sh(n, "sg_persist --no-inquiry --in --read-keys /dev/disk/by-id/dm-uuid-mpath-*; "
                       "sg_persist --no-inquiry --in --read-reservation /dev/disk/by-id/dm-uuid-mpath-*")
    words = [x for x in text.split() if x.startswith("0x")]
    return {k: words.count(k) for k in words}, text


def run(w):
    vm = w.names()[0]
    old = w.host_of(vm)
    n = world.node(old)
    other = next(i for i in w.rig.hosts() if i != n)
    before, text = keys(w, other)
    world.check(len(before) >= 2 and "Write Exclusive, all registrants" in text, "hosts are not registered:\n" + text)
    w.time.mark("registered: %s" % ", ".join("%s %d times" % p for p in sorted(before.items())))
    inc = w.incarnation(old)
    moved = [v for v in w.names() if w.host_of(v) == old]
    was = {v: w.instance(v) for v in moved}
    count = w.rig.ready_count(n)
    at = time.time()
    for nic in ("nic0", "nic1"):
        w.rig.power("link", old, nic, "down")
    w.time.mark("LAN of %s (%s) cut" % (old, ", ".join(moved)))
    for v in moved:
        w.wait("%s runs elsewhere" % v, lambda v=v: w.phase(v) == "Running" and w.host_of(v) not in ("", old), 600)
        w.wait_beat(v, at * 1000, but=[was[v]])
        w.time.mark("%s writes again, %.1f s after the cut" % (v, time.time() - at))
    left, text = keys(w, other)
    gone = [k for k in before if k not in left]
    world.check(gone, "no key was taken away:\n" + text)
    w.time.mark("taken away: %s" % ", ".join(gone))
    world.check("power off" not in " ".join(t for at_, t in w.rig.events() if at_ > at), "somebody switched the power off")
    w.rig.wait_ready(n, count)
    w.time.mark("%s found its key gone and has booted again" % old)
    for nic in ("nic0", "nic1"):
        w.rig.power("link", old, nic, "up")
    w.wait("%s registered anew" % old, lambda: w.incarnation(old) > inc, 300)
    w.wait_hosts(hosts=[n])
    w.wait("its new key is there", lambda: any(k not in left for k in keys(w, other)[0]), 180)
    w.still(w.names(), 10, "after it")
