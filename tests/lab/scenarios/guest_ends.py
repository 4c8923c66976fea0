"""Guests end in their own ways: a crash and a reboot start them again, a power-off is respected."""
import time

import world

TITLE = "guest crash, guest reboot, guest power-off"
SETUP = {}


def again(w, vm, inst, what):
    at = time.time()
    w.wait_beat(vm, at * 1000, but=[inst])
    w.time.mark("%s: %s writes as a new instance after %.1f s" % (what, vm, time.time() - at))
    w.wait_running(vm)


def run(w):
    vm = w.names()[0]
    locks = [l for l in w.items("locks") if l["metadata"]["name"].endswith("." + vm)]
    world.check(len(locks) >= 2, "locks of %s and its volume are not held: %s" % (vm, locks))

    inst = w.instance(vm)
    w.guest_do(vm, "reboot -f")
    again(w, vm, inst, "reboot")

    inst = w.instance(vm)
    w.guest_do(vm, "echo c >/proc/sysrq-trigger")
    again(w, vm, inst, "crash")

    w.guest_do(vm, "poweroff -f")
    w.wait("%s Stopped" % vm, lambda: w.phase(vm) == "Stopped", 180)
    w.wait("its locks are free", lambda: not [l for l in w.items("locks") if l["metadata"]["name"].endswith("." + vm)], 60)
    w.time.mark("power-off: it stays off and its locks are free")
    time.sleep(15)
    world.check(w.phase(vm) == "Stopped", "%s was started though it switched itself off" % vm)
    inst = w.instance(vm)
    # Any change of the spec asks for it again.
    w.change(vm, "shutdownTimeout: 3m")
    again(w, vm, inst, "asked for again")
