"""A guest with a device model: it is started, its agent is killed and upgraded under it, it ends when it is asked to."""
import world

TITLE = "an HVM guest: device model, agent killed under it, shut down"
SETUP = {"hosts": 1, "guests": (("h1", "HVM"),), "packages": "qemu-system-xen", "memory": 1408, "dom0_memory": 704}


def models(w):
    return w.rig.sh(1, "pgrep -f 'qemu-system-i386.*[-]xen-domid' || true").split()


def run(w):
    vm = w.names()[0]
    inst = w.instance(vm)
    was = models(w)
    world.check(len(was) == 1, "not one device model: %s" % was)
    w.time.mark("%s runs with device model %s" % (vm, was[0]))
    old = w.rig.sh(1, "svc pid picket-agent").strip()
    w.rig.sh(1, "svc kill picket-agent")
    w.wait("a new agent", lambda: w.rig.sh(1, "svc pid picket-agent || true").strip() not in ("", old), 60)
    w.still([vm], 20, "agent killed")
    world.check(models(w) == was, "the device model was %s and is %s" % (was, models(w)))
    world.check(w.instance(vm) == inst, "it was started anew")
    w.change(vm, "runPolicy: Stopped")
    w.wait("%s Stopped" % vm, lambda: w.phase(vm) == "Stopped", 240)
    w.wait("its device model ended", lambda: not models(w), 60)
    w.time.mark("shut down, no device model left")
