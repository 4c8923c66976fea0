"""A PVH guest moves to the other host while it runs; a PV guest cannot (Debian's hypervisor), and that is said before."""
import disk
import world

TITLE = "live migration"
SETUP = {}


def run(w):
    vm = w.names()[0]
    src = w.host_of(vm)
    dst = "node2" if src == "node1" else "node1"
    inst = w.instance(vm)
    w.picket("migrate", vm, "--to", dst, timeout=600)
    w.wait("%s runs on %s" % (vm, dst), lambda: w.host_of(vm) == dst and w.phase(vm) == "Running", 300)
    world.check(w.instance(vm) == inst, "it was started anew, not moved")
    w.still([vm], 15, "moved")
    w.time.mark("longest pause of %s: %d ms" % (vm, disk.longest_gap(w.beats(), vm, inst)))
    world.check("g1" not in w.rig.sh(world.node(src), "xl list"), "a domain is left on %s" % src)
