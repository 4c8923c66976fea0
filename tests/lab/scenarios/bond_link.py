"""The active link of the bond is cut: the other one carries on, nobody is suspected."""
import world

TITLE = "a bond's active link cut"
SETUP = {}


def active(w, n):
    return w.rig.sh(n, "cat /sys/class/net/bond0/bonding/active_slave").strip()


def run(w):
    vm = w.names()[0]
    host = w.host_of(vm)
    n = world.node(host)
    inc = w.incarnation(host)
    was = active(w, n)
    nic = "nic" + was[-1]
    w.rig.power("link", host, nic, "down")
    w.wait("the other link is active", lambda: active(w, n) not in ("", was), 60)
    w.time.mark("%s cut, %s took over" % (was, active(w, n)))
    w.still(w.names(), w.lease_s() + 10, "one link")
    world.check(w.condition("host", host, "Ready").get("status") == "True", "%s is not Ready" % host)
    world.check(w.incarnation(host) == inc, "%s got a new incarnation" % host)
    w.rig.power("link", host, nic, "up")
