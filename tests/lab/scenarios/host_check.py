"""`picket host check` on a host that works, and on one from which something was taken."""
import json

import world

TITLE = "picket host check tells what is wrong"
SETUP = {}


def lines(w, n, *args):
    rc, text = w.rig.sh(n, "picket host check -o json " + " ".join(args), check=False)
    found = json.loads(text)
    return rc, {(f["level"], f["topic"]): f for f in found}


def run(w):
    rc, found = lines(w, 1)
    failed = [f for f in found.values() if f["level"] == "fail"]
    world.check(not failed and rc == 0, "a working host fails (exit %d): %s" % (rc, failed))
    for topic in ("xen", "xenstored", "multipathd", "iscsi name", "watchdog", "picket-agent", "picketd"):
        world.check(("ok", topic) in found, "%s is not ok: %s" % (topic, sorted(found)))
    world.check("i6300" in found["ok", "watchdog"]["message"], "watchdog: %s" % found["ok", "watchdog"])
    w.time.mark("%d lines, none failed" % len(found))
    w.rig.sh(1, "mv /etc/iscsi/initiatorname.iscsi /tmp; mkdir -p /etc/xen/auto; touch /etc/xen/auto/g1.cfg")
    rc, found = lines(w, 1)
    w.rig.sh(1, "mv /tmp/initiatorname.iscsi /etc/iscsi; rm /etc/xen/auto/g1.cfg")
    world.check(rc == 1, "exit %d though something failed" % rc)
    for topic in ("iscsi name", "xendomains"):
        world.check(("fail", topic) in found and found["fail", topic].get("fix"), "%s is not found" % topic)
    w.time.mark("what was taken away is found, each with its remedy")
