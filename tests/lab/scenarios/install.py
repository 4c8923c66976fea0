"""docs/install.md from its section 5 on, with its own commands, on two hosts: no picketd outside of them."""
import json

import world

TITLE = "installed by the commands of docs/install.md"
SETUP = {"by_hand": True}


def run(w):
    n = world.node(w.host_of(w.names()[0]))
    text = w.rig.sh(n, "picket status")
    world.check("quorate" in text, text)
    text = w.rig.sh(1, "picket plan --fail node1")
    world.check("node1" in text, text)
    w.time.mark("plan: %s" % text.strip().splitlines()[0])
    rc, out = w.rig.sh(1, "picket host check -o json", check=False)
    for f in json.loads(out):
        if f["level"] != "ok":
            w.time.mark("host check: %s %s: %s; %s" % (f["level"], f["topic"], f["message"], f.get("fix", "")))
    world.check(rc == 0, "picket host check: exit %d" % rc)
    w.rig.sh(1, "picket fence test node2")
    w.time.mark("fence test of node2 by node1 went well")
    w.still(w.names(), 15, "installed")
