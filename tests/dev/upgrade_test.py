#!/usr/bin/env python3
"""Two programs: ours, and a picketd of the next feature level with a command of its own (next_level.c).

- Together they stay at our level and their states stay equal, whoever leads; the new command is refused by all, also
  when a new leader proposes it and an old follower applies it.
- When the last one is replaced the level rises and the command works, everywhere.
- The old program then refuses to run, and says what to do; the new one goes on with its folder."""

import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402
import picketds  # noqa: E402

NEXT = os.path.join(dev.BIN, "next", "picketd")
HOSTS = ["node1", "node2", "node3"]


def agreed_again(c):
    """All replicas were compared at an entry that is newer than now."""
    leader = c.wait("a leader", c.leader)
    at = c.view(leader)["applied"]
    dev.check(c.put(leader, "agree", str(at))[0] == 200, "a put")
    c.wait("states compared and equal", lambda: (c.metric(c.leader() or leader, "picket_state_compared_index") or 0) > at)
    dev.check(c.metric(leader, "picket_state_diverged") == 0, "somebody has diverged")
    dev.check(all(c.ended(h) is None for h in HOSTS), "somebody has ended")


def levels(c):
    return {h: (c.view(h).get("featureLevel"), c.view(h).get("maxFeatureLevel")) for h in HOSTS}


def replace(c, host, program):
    c.stop(host)
    if program:
        c.programs[host] = program
    else:
        c.programs.pop(host, None)
    c.start(host)
    c.wait("%s is back" % host, lambda: c.view(host).get("leader"))


def lead(c, host):
    def there():
        c.run("member", "transfer", host, rc=None)
        return c.leader() == host
    c.wait("%s leads" % host, there, 60, 0.5)


def command(c, host):
    """What `host` was told when it proposed the new command."""
    before = c.log(host).count("next command:")
    with open(c.path(host, "data", "next-command"), "w"):
        pass
    c.wait("an answer to the new command", lambda: c.log(host).count("next command:") > before)
    return c.log(host).split("next command:")[-1].split('"')[0].strip()


def refused(c, host):
    said = command(c, host)
    dev.check(said.startswith("refused, "), "the new command in a mixed cluster: %s" % said)
    dev.check(all(c.count(h, "next") == 0 for h in HOSTS), "somebody executed it all the same")
    agreed_again(c)


def test():
    dev.check(os.access(NEXT, os.X_OK), "%s is missing: make O=%s %s" % (NEXT, dev.BIN, NEXT))
    with picketds.Picketds() as c:
        c.form(3)
        c.wait("our level", lambda: levels(c) == {h: (2, 2) for h in HOSTS})
        replace(c, "node3", NEXT)
        for leader in ("node1", "node3"):  # an old one, the new one
            lead(c, leader)
            for i in range(20):
                dev.check(c.put(HOSTS[i % 3], "mixed%d" % i, leader * 20)[0] == 200, "put in a mixed cluster")
            refused(c, "node3")
        replace(c, "node1", NEXT)
        refused(c, "node1")
        dev.check(levels(c)["node1"] == (2, 3), "levels with one old member: %s" % levels(c))
        replace(c, "node2", NEXT)
        c.wait("the level rises with the last one", lambda: levels(c) == {h: (3, 3) for h in HOSTS})
        said = command(c, "node2")
        dev.check(said == "done", "the new command: %s" % said)
        c.wait("it is executed everywhere", lambda: all(c.count(h, "next") == 1 for h in HOSTS))
        agreed_again(c)

        bad = c.followers()[0]
        c.stop(bad)
        del c.programs[bad]
        c.start(bad)
        c.wait("the old program refuses the new level", lambda: c.ended(bad) == 1, 30)
        dev.check("upgrade this picketd" in c.log(bad), c.log(bad)[-500:])
        del c.procs[bad]
        c.programs[bad] = NEXT
        c.start(bad)
        agreed_again(c)
        for host in list(c.procs):
            c.stop(host, signal.SIGKILL)


dev.main(test)
