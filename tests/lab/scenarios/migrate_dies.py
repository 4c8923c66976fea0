"""The target of a live migration loses its power half-way: the guest goes on where it was, as the same instance."""
import time

import world

TITLE = "live migration, the target killed half-way"
SETUP = {}


def phase(w, known):
    new = [m for m in w.items("migrations") if m["metadata"]["name"] not in known]
    return new[0].get("status", {}).get("phase", "") if new else ""


def run(w):
    vm = next(name for name, virt in w.guests if virt == "PVH")
    src = w.host_of(vm)
    dst = "node2" if src == "node1" else "node1"
    inst = w.instance(vm)
    others = [v for v in w.names() if w.host_of(v) == dst]
    before = {v: w.beats()[v] for v in others}
    known = {m["metadata"]["name"] for m in w.items("migrations")}
    w.picket("migrate", vm, "--live", "--to", dst, "--timeout", "30m", "--no-wait")
    w.wait("it is under way", lambda: phase(w, known) == "Running", 180)
    w.wait("%s receives it" % dst, lambda: vm + " " in w.rig.sh(world.node(dst), "xl list") or phase(w, known) != "Running", 180)
    world.check(phase(w, known) == "Running", "it is %s already" % phase(w, known))
    at = time.time()
    w.time.mark("the cord of %s is pulled" % dst)
    w.rig.power("off", dst)
    w.wait("the migration has failed", lambda: phase(w, known) in ("Failed", "Canceled"), 420)
    w.wait("%s writes at home" % vm, lambda: w.instance(vm) == inst and w.host_of(vm) == src and w.phase(vm) == "Running", 240)
    w.still([vm], 20, "at home")
    if others:
        w.take_over(others, dst, before, at)
    w.back(dst)
