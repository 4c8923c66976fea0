"""A host is emptied, rebooted by its operator, and takes part again; nothing is fenced."""
import world

TITLE = "host rebooted cleanly with drain"
SETUP = {}


def run(w):
    vm = w.names()[0]
    host = w.host_of(vm)
    n = world.node(host)
    fencings = len(w.items("fencings"))
    w.picket("drain", host, "--timeout", "30m", timeout=900)
    w.time.mark("%s is empty" % host)
    for v in w.names():
        world.check(w.host_of(v) != host, "%s is still on %s" % (v, host))
    world.check("(null)" not in w.rig.sh(n, "xl list"), "a domain is dying")
    count = w.rig.ready_count(n)
    inc = w.incarnation(host)
    w.rig.sh(n, "for s in picket-agent picketd picket-watchdog; do svc stop $s; done; sync; (sleep 1; /bin/busybox reboot -f) >/dev/null 2>&1 </dev/null &")
    w.rig.wait_ready(n, count)
    w.time.mark("%s booted again" % host)
    w.picket("uncordon", host)
    w.wait("%s registered anew" % host, lambda: w.incarnation(host) > inc, 300)
    w.wait_hosts(hosts=[n])
    world.check(len(w.items("fencings")) == fencings, "somebody was fenced")
    w.wait_running(*w.names())
