#!/usr/bin/env python3
"""make torture: real picketds on loopback under a random sequence of faults, with clients whose every operation is written
down and checked.

    tests/torture/torture.py [--seconds N] [--members 3|5] [--seed S] [--bin build] [--faults kill,stop,cut,disk,clock]

Faults, one after the other with quiet times between: kill -9 of one to all members, SIGSTOP, a partition (one member, halves,
one-way), the disk of one member full (a small tmpfs; needs root), the wall clock of one member off by up to an hour.  The
traffic between members goes through relays (relay.py), so that cuts need no privileges.
Checked: the history of each key is linearizable (check.py: nothing lost, nothing twice, no stale read); all members have the
same keys, values and revisions in the end; a watch on each member told every change of a key once, in order, and all members'
watches told the same; the cluster takes writes again within 15 s after the last fault (more where the machine is so loaded
that processes wait longer than an election time-out)."""

import argparse
import base64
import contextlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "bench"))
sys.path.insert(0, HERE)
import check  # noqa: E402
import stores  # noqa: E402

FAULTS = ["kill", "stop", "cut", "disk", "clock"]
PREFIX = "t/"
KEYS = 12
TMPFS_MIB = 320
WHOLE_S = 15  # until the cluster serves again after the last fault
ELECTION_S = 0.3


def b64(s):
    return base64.b64encode(s.encode() if isinstance(s, str) else s).decode()


class Watcher(threading.Thread):
    """One member's story of all keys, by /v3/watch, taken up again where it was cut."""

    def __init__(self, store, i):
        super().__init__(daemon=True)
        self.store, self.i, self.events, self.next_rev, self.over, self.errors = store, i, [], 1, False, []

    def run(self):
        while not self.over:
            try:
                c = self.store.connect(self.i, 5)
                c.request("POST", "/v3/watch", json.dumps({"create_request": {
                    "key": b64(PREFIX), "range_end": b64("t0"), "start_revision": str(self.next_rev),
                    "progress_notify": True}}), {"Content-Type": "application/json"})
                r = c.getresponse()
                while not self.over:
                    line = r.readline()
                    if not line.strip():
                        break
                    self.take(json.loads(line)["result"])
            except (OSError, ValueError, KeyError, stores.http.client.HTTPException):
                pass
            time.sleep(0.2)

    def take(self, result):
        if result.get("canceled"):
            self.errors.append("member %d: the watch was refused: %s" % (self.i + 1, result))
            self.over = True
        for e in result.get("events", []):
            kv = e["kv"]
            rev = int(kv["mod_revision"])
            if rev < self.next_rev:
                self.errors.append("member %d: revision %d after %d" % (self.i + 1, rev, self.next_rev - 1))
            self.next_rev = rev + 1  # each of our operations changes one key
            self.events.append((rev, kv["key"], kv.get("value"), e.get("type", "PUT")))


class Lateness(threading.Thread):
    """How long this machine keeps a process waiting that wants to run: the worst since `worst` was set to 0."""

    def __init__(self):
        super().__init__(daemon=True)
        self.worst = 0.0

    def run(self):
        while True:
            t = time.monotonic()
            time.sleep(0.02)
            self.worst = max(self.worst, time.monotonic() - t - 0.02)


class Torture:
    def __init__(self, a):
        self.a, self.rnd = a, random.Random(a.seed)
        self.bin = os.path.abspath(a.bin)
        self.dir = tempfile.mkdtemp(prefix="picket-torture-")
        self.n = a.members
        self.mounts, self.counts = [], {}
        self.lateness = Lateness()
        self.lateness.start()
        self.faults = [f for f in a.faults.split(",") if f in FAULTS]
        if "disk" in self.faults and not self.mount_disks():
            self.faults.remove("disk")
            self.say("no full disks: mounting a tmpfs needs root")
        self.shim = os.path.join(self.bin, "torture", "clockstep.so")
        if "clock" in self.faults and not os.path.exists(self.shim):
            self.faults.remove("clock")
            self.say("no clock steps: %s is missing (make torture builds it)" % self.shim)

    def say(self, text):
        print("%6.1f  %s" % (time.monotonic() - self.a.start, text), flush=True)

    # --- what the faults need ---

    def mount_disks(self):
        if os.geteuid() != 0:
            return False
        for i in range(self.n):
            d = self.data(i)
            os.makedirs(d)
            if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm" % TMPFS_MIB, "tmpfs", d],
                              stderr=subprocess.DEVNULL).returncode != 0:
                return False
            self.mounts.append(d)
        return True

    def data(self, i):
        return os.path.join(self.dir, "data%d" % (i + 1))

    def env(self, i):
        if "clock" not in self.faults:
            return {}
        f = os.path.join(self.dir, "clock%d" % (i + 1))
        with open(f, "wb") as h:
            h.write(struct.pack("<q", 0))
        return {"LD_PRELOAD": self.shim, "CLOCKSTEP_FILE": f}

    @contextlib.contextmanager
    def yesterday(self):
        """Certificates that are made in here are good for a member whose clock is behind, too (as picketd's own are)."""
        if "clock" not in self.faults:
            yield
            return
        f = os.path.join(self.dir, "clock0")
        with open(f, "wb") as h:
            h.write(struct.pack("<q", -86400))
        os.environ.update({"LD_PRELOAD": self.shim, "CLOCKSTEP_FILE": f})
        try:
            yield
        finally:
            for k in ("LD_PRELOAD", "CLOCKSTEP_FILE"):
                del os.environ[k]

    def start_relay(self):
        ports = stores.free_ports(self.n * self.n)
        self.relay_ports = ports
        with self.yesterday():
            self.store = stores.Picket(os.path.join(self.dir, "store"), self.bin, n=self.n, keep=True, env=self.env,
                                       data=self.data, relay=lambda i, j: ports[i * self.n + j])
        real = [p for _, p in self.store.peers]
        self.relay = subprocess.Popen([sys.executable, os.path.join(HERE, "relay.py"), str(self.n)] +
                                      [str(p) for p in ports + real], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.relay.stdout.readline()

    def tell_relay(self, text):
        self.relay.stdin.write(text + "\n")
        self.relay.stdin.flush()
        self.relay.stdout.readline()

    # --- faults: each ends with everything whole again ---

    def some(self, k):
        return self.rnd.sample(range(self.n), k)

    def leader_or_any(self):
        lead = self.store.leader() if self.rnd.random() < 0.6 else None
        return self.rnd.randrange(self.n) if lead is None else lead

    def fault_kill(self):
        k = self.rnd.choice([1, 1, 1, 2, self.n])
        who = [self.leader_or_any()] if k == 1 else self.some(k)
        self.say("kill -9 of %s" % [i + 1 for i in who])
        for i in who:
            self.store.members[i].kill()
        time.sleep(self.rnd.uniform(0, 2))
        for i in who:
            self.store.members[i].start()

    def fault_stop(self):
        who = [self.leader_or_any()] if self.rnd.random() < 0.7 else self.some(2)
        seconds = self.rnd.uniform(0.2, 4)
        self.say("SIGSTOP of %s for %.1f s" % ([i + 1 for i in who], seconds))
        for i in who:
            self.store.members[i].signal(signal.SIGSTOP)
        time.sleep(seconds)
        for i in who:
            self.store.members[i].signal(signal.SIGCONT)

    def fault_cut(self):
        a = self.leader_or_any()
        kind = self.rnd.choice(["alone", "deaf", "dumb", "one way", "halves"])
        others = [i for i in range(self.n) if i != a]
        side = [a] + self.rnd.sample(others, self.n // 2 - 1 + self.n % 2 * 0) if kind == "halves" else [a]
        rest = [i for i in range(self.n) if i not in side]
        if kind == "one way":
            rest = [self.rnd.choice(rest)]
        pairs = [(i, j) for i in side for j in rest]
        if kind in ("alone", "halves"):
            pairs += [(j, i) for i, j in pairs]
        elif kind == "deaf":
            pairs = [(j, i) for i, j in pairs]
        seconds = self.rnd.uniform(0.3, 5)
        self.say("cut of %s from %s (%s) for %.1f s" % ([i + 1 for i in side], [i + 1 for i in rest], kind, seconds))
        for i, j in pairs:
            self.tell_relay("cut %d %d" % (i, j))
        time.sleep(seconds)
        self.tell_relay("heal")

    def fault_disk(self):
        i = self.leader_or_any()
        filler = os.path.join(self.data(i), "filler")
        seconds = self.rnd.uniform(1, 4)
        self.say("the disk of %d is full for %.1f s" % (i + 1, seconds))
        try:
            with open(filler, "wb") as f:
                while True:
                    f.write(b"x" * 65536)
        except OSError:
            pass
        time.sleep(seconds)
        if self.rnd.random() < 0.5:
            self.say("and %d is killed with its disk full" % (i + 1))
            self.store.members[i].kill()
            self.store.members[i].start()
            time.sleep(1)
        os.unlink(filler)

    def fault_clock(self):
        i = self.rnd.randrange(self.n)
        off = self.rnd.choice([-3600, -60, -1, 1, 60, 3600])
        self.say("the wall clock of %d is off by %d s" % (i + 1, off))
        with open(os.path.join(self.dir, "clock%d" % (i + 1)), "r+b") as f:
            f.write(struct.pack("<q", off))

    def revive(self):
        """Whoever ended by itself (a full disk ends a member, by design) is started again."""
        for m in self.store.members:
            if not m.alive():
                self.counts["ended by itself"] = self.counts.get("ended by itself", 0) + 1
                with open(m.log) as f:
                    last = f.readlines()[-1].strip()
                self.say("%s had ended: %s" % (m.name, last[-200:]))
                if m.proc.returncode == -signal.SIGABRT or "AddressSanitizer" in last:
                    raise stores.Failed("%s aborted: see %s" % (m.name, m.log))
                m.start()

    # --- clients ---

    def start_clients(self, k, seconds):
        f = os.path.join(self.dir, "history%d" % k)
        p = subprocess.Popen([os.path.join(self.bin, "bench", "load"), "history", "--address", self.store.addresses(), "--clients",
                              "10", "--keys", str(KEYS), "--prefix", PREFIX, "--seconds", str(seconds), "--seed", str(k + 1),
                              "--file", f] + self.store.load_args("native"), stdout=subprocess.DEVNULL)
        return p, f

    def final_reads(self):
        """Ordinary reads of all keys after everything is whole, by each member."""
        out = os.path.join(self.dir, "history.final")
        with open(out, "w") as f:
            for i in range(self.n):
                for k in range(KEYS):
                    begin = time.clock_gettime(time.CLOCK_BOOTTIME) * 1e6
                    r = self.store.post(i, "/v3/kv/range", {"key": b64("%s%d" % (PREFIX, k))}, timeout=15)
                    end = time.clock_gettime(time.CLOCK_BOOTTIME) * 1e6
                    if "header" not in r:
                        raise stores.Failed("member %d does not answer after everything was healed: %s" % (i + 1, r))
                    kvs = r.get("kvs", [])
                    value = base64.b64decode(kvs[0]["value"]).decode() if kvs else None
                    f.write(json.dumps([1000000 + i, "r", "%s%d" % (PREFIX, k), None, int(begin), int(end), "ok", value]) + "\n")
        return out

    def same_everywhere(self):
        """All members have the same keys at the same revision."""
        bad = []
        rev = max(int(self.store.status(i)["header"]["revision"]) for i in range(self.n))
        views = []
        for i in range(self.n):
            body = {"key": b64("\0"), "range_end": b64("\0"), "revision": str(rev)}
            views.append(self.store.post(i, "/v3/kv/range", body, timeout=15).get("kvs"))
        for i in range(1, self.n):
            if views[i] != views[0]:
                bad.append("members 1 and %d differ at revision %d" % (i + 1, rev))
        return bad

    def check_watches(self, watchers):
        last = int(self.store.status(0)["header"]["revision"])
        end = time.monotonic() + 15
        want = max((w.events[-1][0] for w in watchers if w.events), default=0)
        while any(not w.events or w.events[-1][0] < want for w in watchers) and time.monotonic() < end:
            time.sleep(0.1)
        bad = [e for w in watchers for e in w.errors]
        for w in watchers:
            w.over = True
            got = [e for e in w.events if e[0] <= want]
            ref = [e for e in watchers[0].events if e[0] <= want]
            if got != ref:
                d = next((k for k, (x, y) in enumerate(zip(got, ref)) if x != y), min(len(got), len(ref)))
                bad.append("the watches of members 1 and %d differ at event %d of %d and %d: %s, %s" %
                           (w.i + 1, d, len(ref), len(got), ref[d:d + 1], got[d:d + 1]))
        return bad, len(watchers[0].events), last

    # --- all ---

    def torment(self):
        clients, files = None, []
        end = time.monotonic() + self.a.seconds
        slice_s, k = 20, 0
        while time.monotonic() < end:
            if clients is None or clients.poll() is not None:
                left = end - time.monotonic()
                clients, f = self.start_clients(k, max(2, min(slice_s, left)))
                files.append(f)
                k += 1
            time.sleep(self.rnd.uniform(0.3, 2.5))
            name = self.rnd.choice(self.faults)
            self.counts[name] = self.counts.get(name, 0) + 1
            getattr(self, "fault_" + name)()
            self.revive()
        whole = time.monotonic()
        self.tell_relay("heal")
        time.sleep(0.5)
        self.revive()
        self.lateness.worst = 0.0
        self.store.wait_leader(120)
        took = time.monotonic() - whole
        self.say("takes writes and reads again %.1f s after the last fault" % took)
        # Where processes are not let run for longer than an election time-out, elections fail by chance (docs/raft.md).
        bound = WHOLE_S + WHOLE_S * self.lateness.worst / ELECTION_S
        if took > bound:
            raise stores.Failed("took %.1f s to serve again, %.1f are allowed (this machine kept processes waiting for up to "
                                "%.2f s)" % (took, bound, self.lateness.worst))
        clients.wait(timeout=60)
        return files

    def run(self):
        self.start_relay()
        self.store.start()
        watchers = [Watcher(self.store, i) for i in range(self.n)]
        for w in watchers:
            w.start()
        files = self.torment()
        files.append(self.final_reads())
        bad = self.same_everywhere()
        watch_bad, events, rev = self.check_watches(watchers)
        ops = check.read(files)
        violations, undecided, counts = check.check(ops)
        for v in violations + bad + watch_bad:
            print("VIOLATION " + v)
        self.say("%d members, seed %d: %d operations %s on %d keys, revision %d, %d watched changes a member, faults %s, "
                 "%d keys undecided, %d violations" %
                 (self.n, self.a.seed, len(ops), counts, KEYS, rev, events, self.counts, len(undecided),
                  len(violations) + len(bad) + len(watch_bad)))
        if counts.get("ok", 0) < 20 * self.a.seconds / 2:
            raise stores.Failed("only %d operations succeeded: nothing was tested" % counts.get("ok", 0))
        return not (violations or bad or watch_bad or len(undecided) > KEYS // 4)

    def finish(self, ok):
        for m in getattr(self, "store", None).members if hasattr(self, "store") else []:
            m.kill()
        if hasattr(self, "relay"):
            self.relay.kill()
            self.relay.wait()
        keep = os.path.join(self.bin, "torture", "failed-%d" % self.a.seed)
        if not ok:
            shutil.rmtree(keep, ignore_errors=True)
            shutil.copytree(self.dir, keep, ignore=shutil.ignore_patterns("filler"))
            print("kept: %s" % keep)
        for d in self.mounts:
            subprocess.run(["umount", d])
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--seconds", type=float, default=60)
    ap.add_argument("--members", type=int, default=3, choices=[3, 5])
    ap.add_argument("--seed", type=int, default=int(time.time()))
    ap.add_argument("--bin", default=os.path.join(stores.ROOT, "build"))
    ap.add_argument("--faults", default=",".join(FAULTS))
    a = ap.parse_args()
    a.start = time.monotonic()
    print("seed %d" % a.seed, flush=True)
    t, ok = Torture(a), False
    try:
        ok = t.run()
    except stores.Failed as e:
        print("FAILED %s" % e)
    finally:
        t.finish(ok)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
