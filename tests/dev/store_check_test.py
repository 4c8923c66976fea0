#!/usr/bin/env python3
"""`picket store check`: whole files pass, every kind of damage is named with file and place."""

import os
import random
import re
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

BOOK = os.path.join(dev.ROOT, "examples", "book-cluster.yaml")


def used_bytes(path):
    """Offset behind the last byte that is not zero: what follows was never written."""
    with open(path, "rb") as f:
        return len(f.read().rstrip(b"\0"))


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        b = f.read(1)
        f.seek(at)
        f.write(bytes([b[0] ^ 0x40]))


def damage(c, store, copy, rng):
    logs = sorted(n for n in os.listdir(store) if n.startswith("wal-"))
    used = used_bytes(os.path.join(store, logs[0]))
    dev.check(used > 16384, "the log has only %d bytes: nothing to damage" % used)
    found = 0
    for _ in range(12):
        # Not in the last batches: a broken last one is what a crash leaves, and no damage.
        at = rng.randrange(0, used // 2)
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(store, copy)
        before = c.run("store", "check", copy).stdout
        flip(os.path.join(copy, logs[0]), at)
        p = c.run("store", "check", copy, check_rc=False)
        if p.returncode == 0:
            # Padding between batches is covered by no checksum and holds nothing: the state must be the same.
            dev.check(p.stdout == before, "byte %d: damage was taken for content:\n%s" % (at, p.stdout))
            continue
        found += 1
        m = re.search(r"%s: byte (\d+): " % re.escape(logs[0]), p.stderr)
        dev.check(p.returncode == 1 and m, "byte %d: exit %d, %s" % (at, p.returncode, p.stderr))
        dev.check(int(m.group(1)) <= at, "byte %d: named as %s" % (at, m.group(1)))
        dev.check("join again" in p.stderr, "no advice: %s" % p.stderr)
    dev.check(found >= 3, "only %d of 12 wrong bytes were found" % found)


def test():
    rng = random.Random(7)
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        c.apply(path=BOOK)
        data = os.path.join(c.dir, "hosts", "node2", "store")
        p = c.run("store", "check", data, check_rc=False)
        dev.check(p.returncode == 4 and "stop it first" in p.stderr, "a running node was checked: %s%s" %
                  (p.stdout, p.stderr))
        c.dev("stop", "node2", "picketd")
        c.wait("picketd of node2 gone",
               lambda: c.run("store", "check", data, check_rc=False).returncode != 4, 10)
        p = c.run("store", "check", data)
        for text in ("member 1 node1", "member 3 node3", "ok: every byte", "revision"):
            dev.check(text in p.stdout, "\"%s\" is missing in:\n%s" % (text, p.stdout))
        damage(c, os.path.join(data, "store"), os.path.join(c.dir, "copy"), rng)
        p = c.run("store", "check", c.dir, check_rc=False)
        dev.check(p.returncode == 3 and "neither a log nor a snapshot" in p.stderr, p.stderr)
        c.dev("start", "node2", "picketd")
        c.wait_hosts(seconds=30)


dev.main(test)
