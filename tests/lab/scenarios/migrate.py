"""A guest is moved to the other host by stopping it and starting it there: at no time is it in both places, and its
volume is active on one of them only."""
import world

TITLE = "cold migration"
SETUP = {}


def run(w):
    vm = w.names()[0]
    src = w.host_of(vm)
    dst = "node2" if src == "node1" else "node1"
    inst = w.instance(vm)
    fencings = len(w.items("fencings"))
    w.picket("migrate", vm, "--cold", "--to", dst, "--timeout", "30m", timeout=900)
    w.wait("%s runs on %s" % (vm, dst), lambda: w.host_of(vm) == dst and w.phase(vm) == "Running", 300)
    w.wait("a new instance writes", lambda: w.instance(vm) != inst, 120)
    w.still([vm], 15, "moved")
    left = w.rig.sh(world.node(src), "xl list; dmsetup ls")
    world.check(vm + " " not in left and "vg0-%s" % vm not in left, "something is left on %s:\n%s" % (src, left))
    world.check(len(w.items("fencings")) == fencings, "somebody was fenced")
