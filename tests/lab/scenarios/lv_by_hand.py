"""Somebody activates a guest's volume on the host where it does not run.  The agent there sees it and undoes it."""
import world

TITLE = "a volume activated by hand on the wrong host"
SETUP = {}


def run(w):
    vm = w.names()[0]
    other = world.node("node2" if w.host_of(vm) == "node1" else "node1")
    rc, text = w.rig.sh(other, "lvchange -ay vg0/%s" % vm, check=False)
    w.time.mark("lvchange -ay by hand: exit %d %s" % (rc, text.strip()[:80]))
    if rc == 0 and "vg0-%s" % vm not in w.rig.sh(other, "dmsetup ls"):
        w.time.mark("LVM's own filter did not let it")
    # A person with root goes round the filter.
    w.rig.sh(other, "lvchange -ay --config 'activation{volume_list=[\"vg0\"]}' vg0/%s; dmsetup ls | grep -q vg0-%s" % (vm, vm))
    w.time.mark("activated on node%d by force" % other)
    w.wait("the agent of node%d deactivated it" % other,
           lambda: "vg0-%s" % vm not in w.rig.sh(other, "dmsetup ls"), 180)
    w.time.mark("deactivated by the agent")
    w.still([vm], 15, "volume activated elsewhere")
