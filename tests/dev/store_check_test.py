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


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        b = f.read(1)
        f.seek(at)
        f.write(bytes([b[0] ^ 0x40]))


def damage(c, store, copy, rng):
    logs = sorted(n for n in os.listdir(store) if n.startswith("wal-"))
    with open(os.path.join(store, logs[0]), "rb") as f:
        data = f.read().rstrip(b"\0")
    dev.check(len(data) > 16384, "the log has only %d bytes: nothing to damage" % len(data))
    # Not in the last batches: a broken last one is what a crash leaves, and no damage.
    half = range(len(data) // 2)
    for at in rng.sample([i for i in half if data[i]], 9):
        p = check_damaged(c, store, copy, logs[0], at)
        m = re.search(r"%s: byte (\d+): " % re.escape(logs[0]), p.stderr)
        dev.check(p.returncode == 1 and m, "byte %d: exit %d, %s" % (at, p.returncode, p.stderr))
        dev.check(int(m.group(1)) <= at, "byte %d: named as %s" % (at, m.group(1)))
        dev.check("join again" in p.stderr, "no advice: %s" % p.stderr)
    before = c.run("store", "check", store).stdout
    for at in rng.sample([i for i in half if not data[i]], 3):
        # A zero is content, or padding between batches, which no checksum covers and which holds nothing.
        p = check_damaged(c, store, copy, logs[0], at)
        dev.check(p.returncode == 1 or tail(p.stdout) == tail(before),
                  "byte %d: damage was taken for content:\n%s" % (at, p.stdout))


def damage_snapshot(c, copy, rng):
    """A restored store has a snapshot: any byte of it that is wrong is named, and so is one that was cut short."""
    path, data = os.path.join(c.dir, "one.backup"), os.path.join(c.dir, "restored")
    c.run("backup", "-o", path)
    c.run("restore", path, "--name", "node1", "--address", "127.0.0.1:1", "--data", data)
    store = os.path.join(data, "store")
    snap = [n for n in os.listdir(store) if n.startswith("snap-")][0]
    size = os.path.getsize(os.path.join(store, snap))
    dev.check("snapshot of entry" in c.run("store", "check", data).stdout, "the snapshot is not told")
    for at in [0, 8, 12, size - 1, size - 20] + rng.sample(range(size), 12):
        p = check_damaged(c, store, copy, snap, at)
        dev.check(p.returncode == 1 and re.search(r"%s: byte \d+: .*join again" % re.escape(snap), p.stderr),
                  "byte %d of %d: exit %d, %s" % (at, size, p.returncode, p.stderr))
    for keep in (0, 100, size // 2, size - 1):
        shutil.rmtree(copy)
        shutil.copytree(store, copy)
        os.truncate(os.path.join(copy, snap), keep)
        p = c.run("store", "check", copy, check_rc=False)
        dev.check(p.returncode == 1 and snap in p.stderr, "cut to %d: exit %d, %s" % (keep, p.returncode, p.stderr))
    for n in os.listdir(store):
        if n.startswith("wal-"):
            shutil.rmtree(copy)
            shutil.copytree(store, copy)
            os.unlink(os.path.join(copy, n))
            p = c.run("store", "check", copy, check_rc=False)
            dev.check(p.returncode in (0, 1), "without %s: exit %d, %s" % (n, p.returncode, p.stderr))


def tail(text):
    """What the check says without the folder it looked into."""
    return [line for line in text.splitlines() if "/" not in line]


def check_damaged(c, store, copy, name, at):
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(store, copy)
    flip(os.path.join(copy, name), at)
    return c.run("store", "check", copy, check_rc=False)


def test():
    rng = random.Random(7)
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        c.apply(path=BOOK)
        damage_snapshot(c, os.path.join(c.dir, "copy"), rng)
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
