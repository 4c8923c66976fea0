#!/usr/bin/env python3
"""What people type: apply, get, why, errors with places, references that do not exist yet, disks in place."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

BOOK = os.path.join(dev.ROOT, "examples", "book-cluster.yaml")

WEB = """
apiVersion: picket/v1
kind: VirtualMachine
metadata: {name: web}
spec:
  memory: 512Mi
  disks:
  - {name: root, volumeGroup: vgvm1, size: 10Gi}
  nics:
  - {bridge: br0}
"""

BAD = """
apiVersion: picket/v1
kind: VirtualMachine
metadata: {name: bad}
spec:
  memory: 512Mi
  vcpuz: 2
"""


def discover(c):
    """What a SAN has, as objects that can be applied; and why there is nothing."""
    root = os.path.join(c.dir, "root")
    tool = os.path.join(root, "usr", "sbin", "iscsiadm")
    p = c.run("host", "discover", "10.9.9.1", "--root", root, check_rc=False)
    dev.check(p.returncode == 1 and "open-iscsi" in p.stderr, "without iscsiadm: %d %s" % (p.returncode, p.stderr))
    os.makedirs(os.path.dirname(tool))
    with open(tool, "w") as f:
        f.write("#!/bin/sh\ncase \"$*\" in\n*nonpersistent*) ;;\n*) exit 9 ;;\nesac\ncase \"$*\" in\n"
                "*10.9.9.1*) echo '10.9.9.1:3260,1 iqn.2026-01.example:found' ;;\n"
                "*) echo 'cannot make connection' >&2; exit 4 ;;\nesac\n")
    os.chmod(tool, 0o755)
    p = c.run("host", "discover", "10.9.9.1", "10.9.9.2", "--root", root, "-o", "yaml", check_rc=False)
    dev.check(p.returncode == 5 and "10.9.9.2: cannot make connection" in p.stderr, "%d %s" % (p.returncode, p.stderr))
    c.apply(p.stdout)
    dev.check(c.get("iscsitarget", "found")["spec"]["portals"] == ["10.9.9.1:3260"], "found: %s" % p.stdout)
    c.run("delete", "iscsitarget", "found")


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)

        # a VM before anything that it refers to
        c.apply(WEB)
        c.wait("web names what is missing",
               lambda: "VolumeGroup vgvm1" in c.condition("vm", "web", "Ready").get("message", ""), 20)
        dev.check(c.phase("web") == "Pending", "web is %s" % c.phase("web"))
        out = c.run("why", "vm", "web").stdout
        dev.check("vgvm1" in out, "why does not name vgvm1:\n" + out)

        first = c.apply(path=BOOK).stdout
        dev.check("virtualmachine/vm1 created" in first, first)
        again = c.apply(path=BOOK).stdout
        dev.check("created" not in again and "configured" not in again, "not idempotent:\n" + again)
        c.wait_hosts()
        c.wait_running("vm1", "vm2", "web")
        vol = c.get("volume", "web-root")
        dev.check(vol and vol["metadata"]["ownerReferences"][0]["name"] == "web", "web-root: %s" % vol)

        # a secret never comes back
        for args in (["get", "secrets", "-o", "yaml"], ["get", "secret", "pdu", "-o", "json"]):
            dev.check("pr1vate-write" not in c.run(*args).stdout, "the secret is printed")

        # errors: where, what, and nothing changed
        p = c.run("apply", "-f", "-", stdin=BAD, check_rc=False)
        dev.check(p.returncode == 1 and "vcpuz" in p.stderr and "vcpus" in p.stderr and ":7:" in p.stderr,
                  "exit %d: %s" % (p.returncode, p.stderr))
        dev.check(c.get("vm", "bad") is None, "bad was created")

        # no host is big enough: said per host
        c.apply(WEB.replace("web", "huge").replace("512Mi", "900Gi").replace(
            "  memory", "  ha: {policy: BestEffort}\n  memory"))
        c.wait("huge is rejected by every host",
               lambda: len(c.get("vm", "huge")["status"].get("placement", {}).get("rejected", [])) == 3, 20)
        out = c.run("why", "vm", "huge").stdout
        for h in ("node1", "node2", "node3"):
            dev.check(h in out, "why does not name %s:\n%s" % (h, out))

        # deleting stops the guest first, and its own volume goes too
        c.run("delete", "vm", "web", timeout=60)
        c.wait("web is gone", lambda: c.get("vm", "web") is None, 30)
        c.wait("web-root is gone", lambda: c.get("volume", "web-root") is None, 30)

        # apply --prune: what carries the label and is declared no more goes, nothing else
        rule = "apiVersion: picket/v1\nkind: PlacementRule\nmetadata: {name: %s, labels: {app: shop}}\n" \
               "spec: {type: Apart, strength: Preferred, vms: [vm1, vm2]}\n"
        c.apply(rule % "r1" + "---\n" + rule % "r2")
        c.apply((rule % "r3").replace("shop", "else"))
        p = c.run("apply", "-f", "-", "--prune", stdin=rule % "r1", check_rc=False)
        dev.check(p.returncode == 2 and "-l" in p.stderr, "prune without labels: exit %d" % p.returncode)
        p = c.run("apply", "-f", "-", "--prune", "-l", "app=shop", "--dry-run=server", stdin=rule % "r1")
        dev.check("placementrule/r2 pruned (server dry run)" in p.stdout and c.get("placementrule", "r2"), p.stdout)
        p = c.run("apply", "-f", "-", "--prune", "-l", "app=shop", stdin=rule % "r1")
        dev.check("placementrule/r2 pruned" in p.stdout, p.stdout)
        dev.check(c.get("placementrule", "r2") is None, "r2 is still there")
        dev.check(c.get("placementrule", "r1") and c.get("placementrule", "r3"), "too much was pruned")

        # retry: nothing to do for what runs; of what shall not run it says so
        dev.check("runs" in c.run("retry", "vm1").stdout, "retry of a running machine")
        p = c.run("retry", "nobody", check_rc=False)
        dev.check(p.returncode == 3, "retry of nobody: exit %d" % p.returncode)

        discover(c)

        # cordon, drain, migrate
        host = c.host_of("vm1")
        c.run("drain", host, timeout=90)
        c.wait("vm1 left %s" % host, lambda: c.phase("vm1") == "Running" and c.host_of("vm1") != host, 30)
        c.run("uncordon", host)
        c.run("migrate", "vm1", "--to", host, timeout=90)
        c.wait("vm1 is on %s" % host, lambda: c.phase("vm1") == "Running" and c.host_of("vm1") == host, 30)
        dev.check(c.items("fencings") == [], "somebody was fenced")
        c.check_single_writer()


dev.main(test)
