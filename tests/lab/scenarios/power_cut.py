"""The power cord of a host with guests is pulled.  The lease runs out, the PDU is told to switch off and read back, and
the guests start on another host, on the same volumes."""
import time

TITLE = "host power cut, PDU fencing, restart elsewhere"
SETUP = {}


def run(w):
    vm = w.names()[0]
    old = w.host_of(vm)
    moved = [v for v in w.names() if w.host_of(v) == old]
    before = {v: w.beats()[v] for v in moved}
    at = time.time()
    w.time.mark("the cord of %s (%s) is pulled" % (old, ", ".join(moved)))
    w.rig.power("off", old)
    w.take_over(moved, old, before, at)
    w.back(old)
