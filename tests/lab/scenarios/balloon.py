"""Memory of a running guest follows its spec, up and down, within memoryMax."""
import re

import world

TITLE = "memory ballooned up and down"
SETUP = {}


def domain_mib(w, vm):
    row = re.search(r"^%s +\d+ +(\d+)" % vm, w.on(vm, "xl list"), re.M)
    return int(row.group(1)) if row else 0


def run(w):
    vm = w.names()[0]
    w.change(vm, "memoryMax: 160Mi")
    inst = w.instance(vm)
    w.guest_do(vm, "reboot -f")
    w.wait("a new instance", lambda: w.instance(vm) != inst, 180)
    w.wait_running(vm)
    w.time.mark("%s runs with memoryMax 160Mi" % vm)
    inst = w.instance(vm)
    for mib in (144, 112):
        w.change(vm, "memoryMax: 160Mi", memory="%dMi" % mib)
        w.wait("%s has %d MiB" % (vm, mib), lambda mib=mib: abs(domain_mib(w, vm) - mib) <= 1, 120)
        w.time.mark("%s has %d MiB" % (vm, mib))
        w.still([vm], 10, "%d MiB" % mib)
    world.check(w.instance(vm) == inst, "it was started anew")
