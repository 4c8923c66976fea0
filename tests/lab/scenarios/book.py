"""The book's cluster from nothing: Picket itself makes sessions, maps, groups, bond and bridge on three hosts."""
import world

TITLE = "the book's cluster on three bare hosts, from nothing to running"
SETUP = {"hosts": 3, "links": 2, "luns": 2, "storage": "services", "network": "plain", "book": True,
         "guests": (("vm1", "PV"), ("vm2", "PVH"))}


def run(w):
    for n in w.rig.hosts():
        text = w.rig.sh(n, "multipath -ll; ip -br addr show br0; cat /sys/class/net/bond0/bonding/active_slave")
        world.check(text.count("active ready") == 4, "node%d: not two maps of two paths:\n%s" % (n, text))
        world.check("10.77.0.1%d/24" % n in text and "lan" in text, "node%d: no bridge on a bond:\n%s" % (n, text))
    w.time.mark("two LUNs of two paths, bond and bridge on each host")
    where = {w.host_of(v) for v in w.names()}
    world.check(len(where) == 2, "both guests on %s" % where)
    w.still(w.names(), 20, "running")
