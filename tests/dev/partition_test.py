#!/usr/bin/env python3
"""Cut-off and wedged hosts: the majority fences first, no machine ever runs twice, and waking up does no harm."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

BOOK = os.path.join(dev.ROOT, "examples", "book-cluster.yaml")


def elsewhere(c, vm, host):
    return c.wait("%s away from %s" % (vm, host),
                  lambda: c.phase(vm) == "Running" and c.host_of(vm) not in ("", host), 60)


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        c.apply(path=BOOK)
        c.wait_hosts()
        c.wait_running("vm1", "vm2")

        cut = c.host_of("vm1")
        c.dev("cut", cut)
        elsewhere(c, "vm1", cut)
        c.check_single_writer()
        fencings = c.items("fencings")
        dev.check(any(f["spec"]["host"] == cut and f["status"]["state"] == "Succeeded" and f["status"]["proof"]
                      for f in fencings), "no proof for %s: %s" % (cut, fencings))
        c.dev("heal", cut)
        c.dev("power", cut, "on", check_rc=False)
        c.wait_hosts(seconds=60)

        # A wedged host is ended by the PDU or, when that takes longer, by its own watchdog; then its new boot is
        # the proof, and the machine may well start there again.
        wedged = c.host_of("vm1")
        token = c.get("vm", "vm1")["status"]["token"]
        c.dev("wedge", wedged)
        c.wait("vm1 runs under a new token",
               lambda: c.phase("vm1") == "Running" and c.get("vm", "vm1")["status"]["token"] > token, 60)
        dev.check(all(f["status"]["proof"] in ("Off", "Reboot") for f in c.items("fencings")
                      if f["status"]["state"] == "Succeeded"), "proofs: %s" % c.items("fencings"))
        c.dev("unwedge", wedged, check_rc=False)
        c.dev("power", wedged, "on", check_rc=False)
        c.wait_hosts(seconds=60)
        c.wait_running("vm1", "vm2")
        c.check_single_writer()


dev.main(test)
