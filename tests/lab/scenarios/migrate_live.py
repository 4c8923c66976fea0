"""A PVH guest is moved while it runs: the same instance goes on writing on the other host, and nothing is left where it
was.  A PV guest, which Debian's hypervisor cannot move live, is refused with that reason and goes on where it is."""
import disk
import world

TITLE = "live migration; what cannot go live is refused"
SETUP = {}


def journal(w, vm):
    """Of the newest Migration of this guest: its status."""
    mine = [m for m in w.items("migrations") if m["spec"].get("vm") == vm]
    return max(mine, key=lambda m: m["metadata"]["creationTimestamp"], default={}).get("status", {})


def gone(w, host, vm):
    left = w.rig.sh(world.node(host), "xl list; dmsetup ls")
    return vm + " " not in left and "vg0-%s" % vm not in left


def run(w):
    vm = next(name for name, virt in w.guests if virt == "PVH")
    src = w.host_of(vm)
    dst = "node2" if src == "node1" else "node1"
    inst = w.instance(vm)
    fencings = len(w.items("fencings"))
    w.picket("migrate", vm, "--live", "--to", dst, "--timeout", "30m", timeout=900)
    st = journal(w, vm)
    w.time.mark("%s, downtime %s ms" % (st.get("phase"), st.get("downtimeMs")))
    w.wait("%s runs on %s" % (vm, dst), lambda: w.host_of(vm) == dst and w.phase(vm) == "Running", 120)
    w.still([vm], 15, "moved")
    world.check(w.instance(vm) == inst, "it was started anew instead of moved")
    w.wait("nothing is left on %s" % src, lambda: gone(w, src, vm), 120)
    w.time.mark("the guest's longest pause: %d ms; nothing is left on %s" % (disk.longest_gap(w.beats(), vm, inst), src))
    world.check(len(w.items("fencings")) == fencings, "somebody was fenced")

    pv = next((name for name, virt in w.guests if virt == "PV"), None)
    if pv is not None:
        refused(w, pv)


def refused(w, pv):
    src, inst = w.host_of(pv), w.instance(pv)
    p = w.picket("migrate", pv, "--live", "--to", "node2" if src == "node1" else "node1", check_rc=False, timeout=300)
    world.check(p.returncode != 0 and journal(w, pv).get("reason") == "CannotGoLive", "exit %d: %s%s" % (p.returncode, p.stdout, p.stderr))
    w.time.mark("%s: %s" % (pv, journal(w, pv).get("message")))
    w.still([pv], 10, "refused")
    world.check(w.instance(pv) == inst and w.host_of(pv) == src, "it was touched")
