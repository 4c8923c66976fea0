#!/usr/bin/env python3
"""Three picketds whose data folders are small file systems of their own (in a mount namespace of this test): when the
room ends, what grows is refused with the alarm, reads and deletions go on, nobody ends, and when there is room again
everything works without a person.  Also with no byte left at all, and across a kill -9.  Needs root and unshare(1)."""

import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402
import picketds  # noqa: E402

MIB = 1 << 20
SIZE = 320  # MiB; the alarm goes on when less than an eighth is left
HOSTS = ("node1", "node2", "node3")
NO_ROOM = "etcdserver: mvcc: database space exceeded"


def mount(c, host):
    d = c.path(host, "data")
    os.makedirs(d)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm" % SIZE, "tmpfs", d], check=True)


def fill(c, host, leave):
    """A file that leaves so many bytes."""
    d = c.path(host, "data")
    with open(os.path.join(d, "filler"), "ab") as f:
        fs = os.statvfs(d)
        if fs.f_bavail * fs.f_frsize > leave:
            os.posix_fallocate(f.fileno(), f.tell(), fs.f_bavail * fs.f_frsize - leave)


def make_room(c, host):
    os.unlink(c.path(host, "data", "filler"))


def grow(c, host, name):
    return c.put(host, name, "x" * 20000)


def alive(c):
    for h in HOSTS:
        dev.check(c.ended(h) is None, "%s ended: %s" % (h, c.log(h)[-800:]))


def usable_again(c, name):
    c.wait("the alarm goes off", lambda: all(c.view(h).get("alarms") == [] for h in HOSTS))
    for i, h in enumerate(HOSTS):
        c.wait("%s takes puts again" % h, lambda h=h, i=i: grow(c, h, "%s%d" % (name, i))[0] == 200, 20)
    c.wait("the condition", lambda: c.condition("Storage").get("status") == "True")
    alive(c)


def one_is_low(c):
    """One member's disk is nearly full: everybody refuses what grows, and says so."""
    bad = c.followers()[0]
    fill(c, bad, 24 * MIB)
    c.wait("the alarm", lambda: "NOSPACE" in c.view("node1").get("alarms", []))
    for h in HOSTS:
        status, got = grow(c, h, "never")
        dev.check(got.get("code") == 8 and got.get("message") == NO_ROOM, "put on %s: %d %s" % (h, status, got))
        dev.check(c.count(h, "key") == 30, "reads under the alarm")
    for i in range(10):
        status, got = c.https(HOSTS[i % 3], "POST", "/v3/kv/deleterange", {"key": picketds.b64("key%02d" % i)})
        dev.check(status == 200 and got.get("deleted") == "1", "deletion under the alarm: %d %s" % (status, got))
    dev.check(all(c.count(h, "key") == 20 and c.count(h, "never") == 0 for h in HOSTS), "keys")
    c.wait("the condition", lambda: c.condition("Storage").get("reason") == "NoSpace")
    dev.check(bad in c.condition("Storage")["message"], "the condition names %s: %s" % (bad, c.condition("Storage")))
    dev.check("NoSpace" in c.run("status", rc=None).stdout, "picket status does not show it")
    make_room(c, bad)
    usable_again(c, "one")


def all_are_full(c):
    """Not a byte left on any disk: nobody ends, reads go on, nothing that was acknowledged is lost; one is even killed."""
    for h in HOSTS:
        fill(c, h, 0)
    c.wait("the alarm", lambda: "NOSPACE" in c.view("node1").get("alarms", []))
    status, got = grow(c, "node1", "never")
    dev.check(got.get("code") == 8, "put on a full disk: %d %s" % (status, got))
    status, got = c.https("node2", "POST", "/v3/kv/deleterange", {"key": picketds.b64("key10")})
    dev.check(status == 200 and got.get("deleted") == "1", "deletion on full disks: %d %s" % (status, got))
    victim = c.followers()[0]
    c.stop(victim, signal.SIGKILL)
    c.start(victim)
    c.wait("%s serves reads again, its disk still full" % victim, lambda: c.count(victim, "key") == 19, 30)
    alive(c)
    for h in HOSTS:
        dev.check(c.count(h, "key") == 19 and c.count(h, "never") == 0, "keys of %s" % h)
        make_room(c, h)
    usable_again(c, "all")


def test():
    with picketds.Picketds() as c:
        c.form(3, before_join=mount)
        c.run("apply", "-f", "-", stdin="apiVersion: picket/v1\nkind: Cluster\nmetadata: {name: cluster}\nspec: {}\n")
        for i in range(30):
            dev.check(c.put(HOSTS[i % 3], "key%02d" % i, "x" * 1000)[0] == 200, "put")
        one_is_low(c)
        all_are_full(c)
        for h in HOSTS:
            c.stop(h, signal.SIGKILL)
        for h in HOSTS:
            out = c.run("store", "check", c.path(h, "data")).stdout
            dev.check("ok: every byte is what was written" in out, out)
        for h in HOSTS:
            subprocess.run(["umount", c.path(h, "data")], check=True)


if os.environ.get("FULL_DISK_NAMESPACE") == "1":
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    dev.main(test)
elif os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode != 0:
    print("SKIPPED: a mount namespace and tmpfs need root and unshare(1): FULL DISKS WERE NOT TESTED", file=sys.stderr)
else:
    os.execvpe("unshare", ["unshare", "-m", sys.executable, os.path.abspath(__file__)],
               dict(os.environ, FULL_DISK_NAMESPACE="1"))
