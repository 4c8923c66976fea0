"""A Volume is made larger while its guest runs on it: the guest sees its disk grow and goes on."""
import world

TITLE = "a volume grows under its guest"
SETUP = {}
MIB = 32


def guest_sees(w, vm):
    """Whether the guest says on its console that its disk has the new size."""
    w.guest_do(vm, "echo disk=$(cat /sys/block/xvda/size)")
    return "disk=%d" % (MIB << 11) in w.on(vm, "tail -n 20 /var/log/xen/guest-%s.log" % vm)


def run(w):
    vm = w.names()[0]
    inst, host = w.instance(vm), w.host_of(vm)
    w.sizes[vm] = "%dMi" % MIB
    w.apply("""apiVersion: picket/v1
kind: Volume
metadata: {name: %s}
spec: {volumeGroup: vg0, size: %s, access: Exclusive}
""" % (vm, w.sizes[vm]))
    w.wait("the volume has %d MiB" % MIB, lambda: w.on(vm, "blockdev --getsize64 /dev/vg0/%s" % vm).strip() == str(MIB << 20), 180)
    w.time.mark("the volume has %d MiB" % MIB)
    w.wait("the guest sees it", lambda: guest_sees(w, vm), 120, every=5)
    w.time.mark("the guest sees a disk of %d MiB" % MIB)
    w.still([vm], 10, "grown")
    world.check((w.instance(vm), w.host_of(vm)) == (inst, host), "it was started anew, or moved")
