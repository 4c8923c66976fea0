#!/usr/bin/env python3
"""make bench-store: our store next to etcd 3.4 and to the disk, in interleaved rounds of one run.

    tests/bench/store.py [--bin build] [--part put,get,...] [--rounds N] [--seconds S] [--json FILE]

Parts: put, get, watch, memory, snapshot, restart, failover, follower; all but follower by default.
Both run as three members on loopback, on one disk, with 256-byte values.  Clients talk to the leader, which is the best
case for both.  Ours is measured over the native protocol (TLS) and over /v3 JSON (TLS), TLS between the peers; etcd over its
JSON gateway (plain) and, where Go and golang-etcd-server-dev are installed, over gRPC by the official client
(tests/bench/etcdload.go), peers plain; etcd's better figure counts.  Each round begins with the disk alone; a round whose
probe differs from the median by more than 1.5 is left out of the comparison."""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import stores  # noqa: E402

PARTS = ["put", "get", "watch", "memory", "snapshot", "restart", "failover", "follower"]
GO_PATH = "/usr/share/gocode"


class Bench:
    def __init__(self, a):
        self.a = a
        self.bin = os.path.abspath(a.bin)
        self.load_bin = os.path.join(self.bin, "bench", "load")
        self.dir = tempfile.mkdtemp(prefix="bench-store-", dir=self.bin)
        self.grpc = None
        self.rows = []  # (text, goal, ours, theirs, ratio or None, met or None, note)
        self.data = {}  # name -> [result of each round]
        self.probes = []

    # --- running ---

    def run(self, args, timeout):
        p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
        if p.returncode != 0:
            raise stores.Failed("%s: exit %d: %s%s" % (" ".join(args), p.returncode, p.stdout, p.stderr))
        return json.loads(p.stdout)

    def load(self, store, proto, op, seconds, *args):
        lead = store.wait_leader()
        cpu = store.cpu()
        if proto == "grpc":
            r = self.run([self.grpc, op, "--address", store.address(lead), "--seconds", str(seconds)] + list(args), seconds + 90)
        else:
            r = self.run([self.load_bin, op, "--address", store.address(lead), "--seconds", str(seconds)] +
                         store.load_args(proto) + list(args), seconds + 90)
        if r.get("ops"):
            # The warm-up is part of what the servers worked for.
            r["cpu_us"] = (store.cpu() - cpu) * 1e6 / (r["ops"] * (seconds + 0.5) / seconds)
        return r

    def build_grpc(self):
        src = os.path.join(stores.ROOT, "tests", "bench", "etcdload.go")
        out = os.path.join(self.bin, "bench", "etcdload")
        if not shutil.which("go") or not os.path.isdir(GO_PATH + "/src/go.etcd.io/etcd/clientv3"):
            print("no gRPC client for etcd (packages golang-go, golang-etcd-server-dev): its JSON gateway alone")
            return
        if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(src):
            env = dict(os.environ, GO111MODULE="off", GOPATH=GO_PATH, GOCACHE=os.path.join(self.bin, "gocache"), GOFLAGS="-p=1")
            p = subprocess.run(["go", "build", "-o", out, src], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, timeout=900)
            if p.returncode != 0:
                print("no gRPC client for etcd: go build failed:\n" + p.stdout)
                return
        self.grpc = out

    def probe(self):
        f = os.path.join(self.dir, "probe")
        one = self.run([self.load_bin, "probe", "--file", f, "--clients", "1", "--seconds", "1"], 60)
        three = self.run([self.load_bin, "probe", "--file", f, "--clients", "3", "--seconds", "1"], 60)
        return one, three

    def keep(self, name, r):
        self.data.setdefault(name, []).append(r)

    def say(self, text):
        print("%s  %s" % (time.strftime("%H:%M:%S"), text), flush=True)

    # --- rounds of put, get, watch ---

    def kinds(self, picket, etcd):
        k = [("native", picket, "native"), ("v3", picket, "json")]
        if etcd:
            k.append(("etcd-json", etcd, "json"))
            if self.grpc:
                k.append(("etcd-grpc", etcd, "grpc"))
        return k

    def round(self, parts, picket, etcd):
        one, three = self.probe()
        self.probes.append((one, three))
        self.say("probe: 1 writer %.0f/s, 3 writers %.0f/s each" % (one["rate"], three["rate"]))
        for op in ("put", "get"):
            if op not in parts:
                continue
            for n in (1, 64, 1000):
                for name, store, proto in self.kinds(picket, etcd):
                    r = self.load(store, proto, op, self.a.seconds, "--clients", str(n))
                    self.keep((name, op, n), r)
                    self.say("%-9s %s %4d: %8.0f/s p50 %.3f p99 %.2f ms cpu %.0f us" %
                             (name, op, n, r["rate"], r["p50_us"] / 1e3, r["p99_us"] / 1e3, r.get("cpu_us", 0)))
        if "watch" in parts:
            for n in (100, 1000):
                for name, store, proto in self.kinds(picket, etcd):
                    r = self.load(store, proto, "watch", self.a.seconds, "--clients", str(n), "--keys", "1")
                    self.keep((name, "watch", n), r)
                    self.say("%-9s watch %4d: %8.0f events/s p50 %.2f p99 %.2f ms" %
                             (name, n, r["rate"], r["p50_us"] / 1e3, r["p99_us"] / 1e3))

    def good_rounds(self):
        """Those whose disk was like the others'."""
        mid = statistics.median(p[1]["rate"] for p in self.probes)
        good = [i for i, p in enumerate(self.probes) if mid / 1.5 <= p[1]["rate"] <= mid * 1.5]
        for i in range(len(self.probes)):
            if i not in good:
                print("round %d is not compared: its probe of %.0f/s differs from the median %.0f/s by more than 1.5" %
                      (i + 1, self.probes[i][1]["rate"], mid))
        return good

    def med(self, good, name, op, n, field):
        rs = self.data.get((name, op, n))
        if not rs:
            return None
        v = [rs[i].get(field) for i in good if i < len(rs) and rs[i].get(field) is not None]
        return (min(v), statistics.median(v), max(v)) if v else None

    def etcd_best(self, good, op, n, field, high):
        both = [m for m in (self.med(good, k, op, n, field) for k in ("etcd-json", "etcd-grpc")) if m]
        if not both:
            return None
        return (max if high else min)(both, key=lambda m: m[1])

    def row(self, text, goal, ours, theirs, low=None, high=None, form="%.0f", note=""):
        """low: the ratio must be at least that; high: at most."""
        ratio = ours[1] / theirs[1] if theirs and theirs[1] else None
        met = None if ratio is None else (ratio >= low if low is not None else ratio <= high)
        three = lambda m: "-" if m is None else " / ".join(form % x for x in m)  # noqa: E731
        self.rows.append((text, goal, three(ours), three(theirs), "-" if ratio is None else "%.2f" % ratio,
                          "" if met is None else "met" if met else "MISSED", note))

    def compare(self, parts):
        good = self.good_rounds()
        goals = {("put", 1): (3, 0.35, None), ("put", 64): (10, None, 0.15), ("put", 1000): (15, None, 0.1),
                 ("get", 1): (None, 0.3, None), ("get", 64): (8, None, None), ("get", 1000): (12, None, None)}
        for (op, n), (rate, p50, p99) in goals.items():
            if op not in parts:
                continue
            for name in ("native", "v3"):
                if rate:
                    self.row("%s, %d clients, /s (%s)" % (op, n, name), ">= %g" % rate, self.med(good, name, op, n, "rate"),
                             self.etcd_best(good, op, n, "rate", True), low=rate)
                for field, goal in (("p50_us", p50), ("p99_us", p99)):
                    if goal:
                        self.row("%s, %d clients, %s us (%s)" % (op, n, field[:3], name), "<= %g" % goal,
                                 self.med(good, name, op, n, field), self.etcd_best(good, op, n, field, False), high=goal)
            if op == "put" and n == 1:
                v = [p[1]["rate"] for i, p in enumerate(self.probes) if i in good]
                self.row("put, 1 client, /s (native), next to 3 parallel disk writers", ">= 0.7",
                         self.med(good, "native", op, n, "rate"), (min(v), statistics.median(v), max(v)), low=0.7)
            if op == "put" and n == 64:
                self.row("CPU of all three per put at 64, us (native)", "<= 0.25", self.med(good, "native", op, n, "cpu_us"),
                         self.etcd_best(good, op, n, "cpu_us", False), high=0.25)
        if "watch" in parts:
            for field in ("p50_us", "p99_us"):
                self.row("watch, 100 connections, %s us (native)" % field[:3], "<= 0.2", self.med(good, "native", "watch", 100, field),
                         self.etcd_best(good, "watch", 100, field, False), high=0.2)
            self.row("watch, 1000 connections, events/s (native)", ">= 20", self.med(good, "native", "watch", 1000, "rate"),
                     self.etcd_best(good, "watch", 1000, "rate", True), low=20)

    # --- single measurements, each on fresh stores ---

    def picket(self, name, **kw):
        return stores.Picket(os.path.join(self.dir, name), self.bin, **kw)

    def etcd(self, name, **kw):
        return stores.Etcd(os.path.join(self.dir, name), **kw)

    def both(self, name, **kw):
        s = [self.picket("p-" + name, **kw)]
        return s + ([self.etcd("e-" + name, **kw)] if shutil.which("etcd") else [])

    def fill(self, store, keys):
        proto = "native" if store.name == "picket" else "json"
        lead = store.wait_leader()
        return self.run([self.load_bin, "fill", "--address", store.address(lead), "--keys", str(keys), "--clients", "256",
                         "--prefix", "fill/key/of/32b/"] + store.load_args(proto), 3600)

    def single(self, x):
        return None if x is None else (x, x, x)

    def memory(self):
        got = {}
        for s in self.both("memory"):
            with s:
                lead = s.wait_leader()
                self.load(s, "native" if s.name == "picket" else "json", "put", 1, "--clients", "16", "--keys", "100")
                before = stores.rss_kib(s.members[lead].pid)
                self.fill(s, 100000)
                time.sleep(1)
                got[s.name] = (stores.rss_kib(s.members[lead].pid) - before) / 1024
                self.say("%s: +%.0f MiB for 100,000 keys" % (s.name, got[s.name]))
        self.row("leader's memory for 100,000 keys of 32+256 bytes, MiB", "<= 0.25", self.single(got["picket"]),
                 self.single(got.get("etcd")), high=0.25)

    def snapshot_marks(self, store, lead):
        """[(begin or end, seconds since 1970)] of snapshots, from the leader's log."""
        out = []
        with open(store.members[lead].log) as f:
            for line in f:
                if "msg=\"snapshot" in line:
                    stamp = line.split(">", 1)[1].split()[0]
                    t = time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")
                    out.append((line, __import__("calendar").timegm(t) + float("0" + stamp[19:-1])))
        return out

    def snapshot(self):
        """p99 of puts at 64 clients in windows of half a second; those in which a snapshot was written against the others."""
        keys = self.a.million
        with self.picket("p-snapshot") as s:
            self.fill(s, keys)
            lead = s.wait_leader()
            windows, size = [], 0
            end = time.time() + 30
            while time.time() < end:
                t = time.time()
                r = self.load(s, "native", "put", 1, "--clients", "64", "--warm", "0.1", "--keys", str(keys),
                              "--prefix", "fill/key/of/32b/")
                files = os.listdir(os.path.join(s.dir, s.members[lead].name, "store"))
                windows.append((t, time.time(), r["p99_us"], files))
            writing = [w for w in windows if self.wrote_snapshot(s, lead, w)]
            quiet = [w for w in windows if w not in writing]
            stall = self.metric(s, lead, "picket_loop_turn_cpu_max_seconds")
            if not writing or not quiet:
                self.rows.append(("p99 of puts while a snapshot of %d keys is taken" % keys, "<= 2", "-", "-", "-", "",
                                  "no window %s a snapshot" % ("with" if not writing else "without")))
                return
            a, b = statistics.median(w[2] for w in writing), statistics.median(w[2] for w in quiet)
            self.say("snapshot: p99 %.0f us with (%d windows), %.0f us without (%d)" % (a, len(writing), b, len(quiet)))
            self.row("p99 of puts while a snapshot of %d keys is taken, against p99 without, us" % keys, "<= 2", self.single(a),
                     self.single(b), high=2)
            if stall is not None:
                self.row("longest stall of the leader's loop, ms", "<= 5", self.single(stall * 1e3), None, form="%.1f",
                         note="met" if stall <= 0.005 else "MISSED")

    def wrote_snapshot(self, s, lead, w):
        """A snapshot is logged when it is taken; it was being written in the seconds before."""
        for line, t in self.snapshot_marks(s, lead):
            took = 2.0
            if w[0] < t and w[1] > t - took:
                return True
        return False

    def metric(self, s, i, name):
        c = s.connect(i, 5)
        try:
            c.request("GET", "/metrics")
            for line in c.getresponse().read().decode().splitlines():
                if line.startswith(name) and not line.startswith("#"):
                    return float(line.split()[-1])
        finally:
            c.close()
        return None

    def restart(self):
        """One member killed and started again: until it answers a linearizable read."""
        got = {}
        for s in self.both("restart"):
            with s:
                self.fill(s, self.a.million)
                lead = s.wait_leader()
                i = (lead + 1) % 3
                s.members[i].kill()
                t = time.monotonic()
                s.members[i].start()
                while not s.serves(i):
                    if time.monotonic() - t > 300:
                        raise stores.Failed("%s does not come back" % s.name)
                    time.sleep(0.01)
                got[s.name] = time.monotonic() - t
                self.say("%s: restarted with %d keys in %.2f s" % (s.name, self.a.million, got[s.name]))
        self.row("restart of a member with %d keys until it serves, s" % self.a.million, "<= 0.5", self.single(got["picket"]),
                 self.single(got.get("etcd")), high=0.5, form="%.2f")

    def one_failover(self, s):
        proto = "native" if s.name == "picket" else "json"
        lead = s.wait_leader()
        time.sleep(1)
        others = ",".join(s.address(i) for i in range(3) if i != lead)
        f = os.path.join(self.dir, "open.txt")
        p = subprocess.Popen([self.load_bin, "open", "--address", others, "--seconds", "8", "--interval", "5", "--file", f] +
                             s.load_args(proto))
        try:
            time.sleep(1.5)
            killed = time.clock_gettime(time.CLOCK_BOOTTIME) * 1e6
            s.members[lead].kill()
            p.wait(timeout=60)
        finally:
            p.kill()
            p.wait()
        with open(f) as h:
            ok = [(int(a), int(b)) for a, b, c in (line.split() for line in h) if c == "0"]
        after = [b - killed for a, b in ok if a > killed]
        s.members[lead].start()
        s.wait_leader()
        time.sleep(1)
        if not after:
            raise stores.Failed("%s took no put within 6 s of its leader's death" % s.name)
        return min(after) / 1e3

    def failover(self):
        for name, timers, goal in (("100/1000", {"heartbeat": 100, "election": 1000}, 1.0), ("50/500", None, 0.5)):
            got = {}
            for s in self.both("failover", **(timers or {"heartbeat": 50, "election": 500})):
                if s.name == "etcd" and not timers:
                    continue
                with s:
                    v = [self.one_failover(s) for _ in range(self.a.failovers)]
                    got[s.name] = (min(v), statistics.median(v), max(v))
                    self.say("%s, timers %s ms: first put after the leader's death: %.0f / %.0f / %.0f ms" %
                             ((s.name, name) + got[s.name]))
            if timers:
                equal = got.get("etcd")
            text = "leader killed to the first accepted put, ms, timers %s%s" % (name, "" if timers else " (etcd at 100/1000)")
            self.row(text, "<= %g" % goal, got["picket"], equal, high=goal)

    def follower(self):
        """A follower stopped for a minute under load costs the leader no more than its window."""
        with self.picket("p-follower") as s:
            lead = s.wait_leader()
            i = (lead + 1) % 3
            out = []

            def loaded():
                out.append(self.load(s, "native", "put", self.a.stopped, "--clients", "64", "--keys", "20000"))

            self.load(s, "native", "put", 5, "--clients", "64", "--keys", "20000")
            before = self.load(s, "native", "put", 5, "--clients", "64", "--keys", "20000")
            rss = stores.rss_kib(s.members[lead].pid)
            s.members[i].signal(signal.SIGSTOP)
            t = threading.Thread(target=loaded)
            t.start()
            t.join()
            rss_stopped = stores.rss_kib(s.members[lead].pid)
            s.members[i].signal(signal.SIGCONT)
            start = time.monotonic()
            while self.applied(s, i) + 1000 < self.applied(s, lead):
                time.sleep(0.2)
                if time.monotonic() - start > 120:
                    raise stores.Failed("the follower does not catch up")
            self.say("follower stopped %g s: leader %d -> %d MiB, %.0f -> %.0f puts/s, caught up in %.1f s" %
                     (self.a.stopped, rss // 1024, rss_stopped // 1024, before["rate"], out[0]["rate"], time.monotonic() - start))
            self.rows.append(("leader's memory before and after a follower was stopped for %g s under load, MiB" % self.a.stopped,
                              "window", "%d" % (rss // 1024), "%d" % (rss_stopped // 1024), "%+d" % ((rss_stopped - rss) // 1024), "",
                              "puts/s %.0f before, %.0f meanwhile" % (before["rate"], out[0]["rate"])))

    def applied(self, s, i):
        st = s.status(i)
        return int(st["raftAppliedIndex"]) if st else 0

    # --- all ---

    def main(self):
        parts = self.a.part.split(",")
        self.build_grpc()
        looped = [p for p in parts if p in ("put", "get", "watch")]
        if looped:
            both = self.both("rounds")
            with both[0] as picket:
                etcd = both[1] if len(both) > 1 else None
                try:
                    if etcd:
                        etcd.start()
                    for i in range(self.a.rounds):
                        self.say("round %d of %d" % (i + 1, self.a.rounds))
                        self.round(looped, picket, etcd)
                finally:
                    if etcd:
                        etcd.__exit__(None, None, None)
            self.compare(looped)
        for p in parts:
            if p not in looped:
                try:
                    getattr(self, p)()
                except (stores.Failed, subprocess.TimeoutExpired) as e:
                    self.say("%s failed: %s" % (p, e))
                    self.rows.append((p, "", "-", "-", "-", "MISSED", "the measurement failed: %s" % str(e)[:150]))
        self.table()
        if self.a.json:
            with open(self.a.json, "w") as f:
                json.dump({"probes": self.probes, "rounds": {" ".join(map(str, k)): v for k, v in self.data.items()},
                           "rows": self.rows}, f, indent=1)
        shutil.rmtree(self.dir, ignore_errors=True)

    def table(self):
        print("\n%s, %d processors, load %.1f" % (time.strftime("%Y-%m-%d %H:%M"), os.cpu_count(), os.getloadavg()[0]))
        if self.probes:
            for k, t in ((0, "1 writer"), (1, "3 writers, each")):
                v = [p[k]["rate"] for p in self.probes]
                print("disk, 4 KiB O_DIRECT|O_DSYNC, %s: min %.0f median %.0f max %.0f writes/s" %
                      (t, min(v), statistics.median(v), max(v)))
        heads = ("what (min / median / max)", "goal", "Picket", "etcd or reference", "ratio", "")
        print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
        for r in self.rows:
            print("| " + " | ".join(r[:5] + ((r[5] + " " + r[6]).strip(),)) + " |")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--bin", default=os.path.join(stores.ROOT, "build"))
    ap.add_argument("--part", default=",".join(p for p in PARTS if p != "follower"))
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=3)
    ap.add_argument("--million", type=int, default=1000000, help="keys for snapshot and restart")
    ap.add_argument("--failovers", type=int, default=5)
    ap.add_argument("--stopped", type=float, default=60, help="seconds that the follower is stopped")
    ap.add_argument("--json")
    a = ap.parse_args()
    bad = [p for p in a.part.split(",") if p not in PARTS]
    if bad:
        ap.error("no part %s; there are %s" % (", ".join(bad), ", ".join(PARTS)))
    try:
        Bench(a).main()
    except stores.Failed as e:
        sys.exit("bench-store: %s" % e)


if __name__ == "__main__":
    main()
