"""The target of a live migration dies half-way: the guest stays or returns to the source, exactly once."""
import world

TITLE = "live migration, the target killed half-way"
SETUP = {}


def run(w):
    vm = w.names()[0]
    src = w.host_of(vm)
    dst = "node2" if src == "node1" else "node1"
    inst = w.instance(vm)
    w.picket("migrate", vm, "--to", dst, "--no-wait")

    def moving():
        migs = [m for m in w.items("migrations") if m["spec"]["vm"] == vm]
        return any(m.get("status", {}).get("phase") == "Transferring" for m in migs)
    w.wait("memory is being transferred", moving, 120, every=0.2)
    w.rig.power("off", dst)
    w.time.mark("the cord of %s is pulled" % dst)
    w.wait("the migration is over", lambda: all(m.get("status", {}).get("phase") in ("Failed", "Aborted", "Succeeded", "Done")
                                                for m in w.items("migrations")), 300)
    w.wait("%s runs on %s" % (vm, src), lambda: w.host_of(vm) == src and w.phase(vm) == "Running", 300)
    world.check(w.instance(vm) == inst, "it was started anew")
    w.still([vm], 15, "on the source")
    w.back(dst)
