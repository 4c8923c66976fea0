#!/usr/bin/env python3
"""Writes under a Picket-Request-Id happen once, whatever dies between: leaders are killed while clients append to lists
and take the first item out (which, done twice, would show), and every request of unknown outcome is repeated, through any member, until it is
answered.  An answer 504 says that the request may have committed."""

import os
import signal
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402
import picketds  # noqa: E402

HOSTS = ["node1", "node2", "node3"]
BASE = "/apis/picket/v1/networkchecks"


def check_object(name):
    return {"apiVersion": "picket/v1", "kind": "NetworkCheck", "metadata": {"name": name},
            "spec": {"targets": ["10.255.255.%d" % i for i in range(4)]}}


class Appender(threading.Thread):
    """Shifts 10.N.x.y for x.y = 0.2, 0.3, ... through the targets of its own object, one after the other."""

    def __init__(self, c, number):
        super().__init__()
        self.c, self.number, self.name_ = c, number, "list%d" % number
        self.done, self.repeats, self.wrong, self.stop = 0, 0, None, False

    def write(self, method, path, body, kind, ok):
        rid = {"Picket-Request-Id": str(uuid.uuid4()), "Content-Type": kind}
        at = self.number
        for _ in range(400):
            status, got = self.c.https(HOSTS[at % 3], method, path, body, rid, timeout=3)
            if status in ok:
                self.got = got
                return True
            if status not in (0, 500, 502, 503, 504):
                self.wrong = "%s %s: %s %s" % (method, path, status, got)
                return False
            self.repeats += 1
            at += 1
            time.sleep(0.05)
        self.wrong = "no answer for %s" % path
        return False

    def item(self, n):
        return "10.%d.%d.%d" % (self.number, n // 200, n % 200 + 1)

    def want(self):
        all_ = check_object("")["spec"]["targets"] + [self.item(n) for n in range(1, self.done + 1)]
        return all_[-4:]

    def run(self):
        if not self.write("POST", BASE, check_object(self.name_), "application/json", (201,)):
            return
        while not self.stop and self.done < 1000:
            n = self.done + 1
            patch = [{"op": "add", "path": "/spec/targets/-", "value": self.item(n)},
                     {"op": "remove", "path": "/spec/targets/0"}]
            if not self.write("PATCH", "%s/%s" % (BASE, self.name_), patch, "application/json-patch+json", (200,)):
                return
            self.done = n
            if self.got["spec"]["targets"] != self.want():
                self.wrong = "%s after %d appends: %s" % (self.name_, n, self.got["spec"]["targets"])
                return


def killing(c):
    workers = [Appender(c, i + 1) for i in range(4)]
    for w in workers:
        w.start()
    kills = 0
    try:
        while kills < 4 and all(w.wrong is None for w in workers):
            time.sleep(1.0)
            leader = c.wait("a leader", c.leader, 30)
            c.stop(leader, signal.SIGKILL)
            kills += 1
            time.sleep(1.0)
            c.start(leader)
    finally:
        for w in workers:
            w.stop = True
        for w in workers:
            w.join()
    for w in workers:
        dev.check(w.wrong is None, w.wrong)
        status, obj = c.wait("an answer", lambda: (lambda s: s if s[0] == 200 else None)(
            c.https("node1", "GET", "%s/%s" % (BASE, w.name_))))
        dev.check(obj["spec"]["targets"] == w.want(), "%s after %d appends: %s" % (w.name_, w.done, obj["spec"]["targets"]))
    total, repeats = sum(w.done for w in workers), sum(w.repeats for w in workers)
    dev.check(total > 50 and repeats > 0, "%d appends with %d repeats prove nothing" % (total, repeats))
    print("%d appends, %d repeats, %d leaders killed" % (total, repeats, kills))


def same_id(c):
    rid = {"Picket-Request-Id": "test-" + str(uuid.uuid4())}
    status, first = c.https("node1", "POST", BASE, check_object("same"), rid)
    dev.check(status == 201, "create: %s %s" % (status, first))
    status, again = c.https("node2", "POST", BASE, check_object("same"), rid)
    dev.check(status == 201 and again["metadata"]["uid"] == first["metadata"]["uid"], "again: %s %s" % (status, again))
    status, got = c.https("node3", "POST", BASE, check_object("other"), rid)
    dev.check(status == 422 and "another request" in got["message"], "other request, same id: %s %s" % (status, got))
    status, got = c.https("node3", "POST", BASE, check_object("other"), {"Picket-Request-Id": "a b"})
    dev.check(status == 400, "malformed id: %s %s" % (status, got))
    rid = {"Picket-Request-Id": str(uuid.uuid4())}
    for host in HOSTS:
        status, got = c.https(host, "DELETE", BASE + "/same", None, rid)
        dev.check(status == 200, "delete: %s %s" % (status, got))
    rid = {"Picket-Request-Id": str(uuid.uuid4())}
    revisions = {c.put(h, "once", "1", rid)[1]["header"]["revision"] for h in HOSTS}
    dev.check(len(revisions) == 1, "one put, revisions %s" % revisions)


def unknown(c):
    """A majority is stopped: nobody knows, the answer says so, and the repeat settles it."""
    leader = c.leader()
    others = [h for h in HOSTS if h != leader]
    for h in others:
        c.procs[h].send_signal(signal.SIGSTOP)
    rid = {"Picket-Request-Id": str(uuid.uuid4())}
    status, got = c.https(leader, "POST", BASE, check_object("unknown"), rid, timeout=40)
    for h in others:
        c.procs[h].send_signal(signal.SIGCONT)
    # either the read point failed (503, nothing happened) or the write is unknown (504)
    dev.check(status in (503, 504), "without a majority: %s %s" % (status, got))
    if status == 504:
        dev.check("may have committed" in got["message"], "504 says: %s" % got)

    def repeat():
        s, g = c.https(leader, "POST", BASE, check_object("unknown"), rid)
        return s == 201
    c.wait("the repeat is answered", repeat)


def test():
    with picketds.Picketds() as c:
        c.form(3)
        c.wait("feature level 2", lambda: c.view("node1").get("featureLevel") == 2)
        same_id(c)
        killing(c)
        unknown(c)
        for host in list(c.procs):
            c.stop(host, signal.SIGKILL)


dev.main(test)
