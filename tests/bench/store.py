#!/usr/bin/env python3
"""make bench-store: Picket's raw key space against etcd, driven over the same JSON gateway by the same client, in
interleaved rounds on one machine, with the disk's own rate beside them.

    tests/bench/store.py [--rounds N] [--seconds S] [--clients 1,16,64]

Both run as three members on loopback; every request is one HTTP/1.1 POST on a kept connection (TLS for Picket, plain for
etcd, which is in etcd's favour).  The client is Python in processes of its own: on two cores it is part of the load
for both sides, so the ratios are a lower bound of what a C client would see."""

import argparse
import base64
import http.client
import json
import multiprocessing
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "dev"))
import cluster as dev  # noqa: E402

VALUE = base64.b64encode(os.urandom(256)).decode()


def probe(folder, seconds=1.0):
    """4 KiB O_DSYNC overwrites of a preallocated file, one writer: the rate of the disk itself."""
    path = os.path.join(folder, "probe")
    with open(path, "wb") as f:
        f.write(b"\0" * (4096 * 256))
        f.flush()
        os.fsync(f.fileno())
    fd = os.open(path, os.O_WRONLY | os.O_DSYNC)
    block = os.urandom(4096)
    n = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.pwrite(fd, block, 4096 * (n % 256))
        n += 1
    os.close(fd)
    os.unlink(path)
    return n / seconds


class Target:
    def __init__(self, name, endpoints, context=None):
        self.name, self.endpoints, self.context = name, endpoints, context

    def connect(self, i):
        host, port = self.endpoints[i % len(self.endpoints)]
        if self.context:
            ctx = ssl.create_default_context(cafile=self.context["ca"])
            ctx.check_hostname = False
            ctx.load_cert_chain(self.context["cert"], self.context["key"])
            return http.client.HTTPSConnection(host, port, context=ctx, timeout=30)
        return http.client.HTTPConnection(host, port, timeout=30)


def worker(target, i, op, seconds, ready, go, out):
    conn = target.connect(i)
    conn.connect()
    times = []
    n = 0
    ready.put(i)
    go.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        key = base64.b64encode(b"bench/%d/%d" % (i, n % 1000)).decode()
        path, body = ("/v3/kv/put", {"key": key, "value": VALUE}) if op == "put" else ("/v3/kv/range", {"key": key})
        t = time.monotonic()
        conn.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        r = conn.getresponse()
        r.read()
        if r.status != 200:
            out.put(("error", "%s: HTTP %d" % (target.name, r.status)))
            return
        times.append(time.monotonic() - t)
        n += 1
    out.put(("ok", times))


def load(target, op, clients, seconds):
    ready, out, go = multiprocessing.Queue(), multiprocessing.Queue(), multiprocessing.Event()
    ps = [multiprocessing.Process(target=worker, args=(target, i, op, seconds, ready, go, out)) for i in range(clients)]
    for p in ps:
        p.start()
    for _ in ps:
        ready.get(timeout=60)
    go.set()
    times = []
    for _ in ps:
        kind, v = out.get(timeout=seconds + 60)
        if kind == "error":
            raise dev.Failed(v)
        times += v
    for p in ps:
        p.join()
    times.sort()
    return {"rate": len(times) / seconds, "p50": times[len(times) // 2] * 1000,
            "p99": times[min(len(times) - 1, int(len(times) * 0.99))] * 1000}


def picket_target(c):
    servers = [s for s in open(os.path.join(c.dir, "kubeconfig")).read().replace(",", " ").split() if "https://" in s]
    eps = []
    for s in servers:
        host, port = s.strip('"').replace("https://", "").rsplit(":", 1)
        n = host.split(".")[-1]
        real = ("127.64.%s.%s" % (n, n), int(port))  # not through the relay of the dev network
        if real not in eps:
            eps.append(real)
    pki = os.path.join(c.dir, "pki")
    return Target("picket", eps, {"ca": pki + "/ca.crt", "cert": pki + "/admin.crt", "key": pki + "/admin.key"})


def start_etcd(folder):
    exe = shutil.which("etcd")
    if not exe:
        return None, []
    base = 24000 + os.getpid() % 1000 * 8
    names = ["e1", "e2", "e3"]
    cluster = ",".join("%s=http://127.0.0.1:%d" % (n, base + i * 2 + 1) for i, n in enumerate(names))
    ps = []
    for i, n in enumerate(names):
        c, p = "http://127.0.0.1:%d" % (base + i * 2), "http://127.0.0.1:%d" % (base + i * 2 + 1)
        ps.append(subprocess.Popen([exe, "--name", n, "--data-dir", os.path.join(folder, n), "--listen-client-urls", c,
                                    "--advertise-client-urls", c, "--listen-peer-urls", p,
                                    "--initial-advertise-peer-urls", p, "--initial-cluster", cluster],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    t = Target("etcd", [("127.0.0.1", base + i * 2) for i in range(3)])
    for _ in range(100):
        try:
            conn = t.connect(0)
            conn.request("POST", "/v3/kv/put", json.dumps({"key": "YQ==", "value": "YQ=="}))
            if conn.getresponse().status == 200:
                return t, ps
        except OSError:
            pass
        time.sleep(0.2)
    raise dev.Failed("etcd does not start")


def table(results, probes, clients):
    print("\ndisk probe, 4 KiB O_DSYNC writes/s: min %.0f median %.0f max %.0f" %
          (min(probes), statistics.median(probes), max(probes)))
    if max(probes) > 1.5 * min(probes):
        print("the probes differ by more than 1.5: the rounds cannot be compared")
    print("%-22s %10s %10s %10s %10s %10s" % ("", "rate min", "median", "max", "p50 ms", "p99 ms"))
    for op in ("put", "get"):
        for n in clients:
            med = {}
            for name in ("picket", "etcd"):
                rs = results.get((name, op, n))
                if not rs:
                    continue
                rates = [r["rate"] for r in rs]
                med[name] = {k: statistics.median(r[k] for r in rs) for k in ("rate", "p50", "p99")}
                print("%-6s %s %4d clients %10.0f %10.0f %10.0f %10.2f %10.2f" %
                      (name, op, n, min(rates), med[name]["rate"], max(rates), med[name]["p50"], med[name]["p99"]))
            if len(med) == 2:
                print("%-22s %10s %9.1fx %10s %9.2fx %9.2fx" %
                      ("  picket / etcd", "", med["picket"]["rate"] / med["etcd"]["rate"], "",
                       med["picket"]["p50"] / med["etcd"]["p50"], med["picket"]["p99"] / med["etcd"]["p99"]))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=3)
    ap.add_argument("--clients", default="1,16,64")
    a = ap.parse_args()
    clients = [int(x) for x in a.clients.split(",")]
    folder = tempfile.mkdtemp(prefix="picket-bench-", dir=os.path.join(dev.ROOT, "build"))
    results, probes = {}, []
    with dev.Cluster(3, folder=os.path.join(folder, "picket")) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        etcd, ps = start_etcd(folder)
        try:
            targets = [picket_target(c)] + ([etcd] if etcd else [])
            if not etcd:
                print("etcd is not installed (package etcd-server): Picket alone")
            for _ in range(a.rounds):
                probes.append(probe(folder))
                for op in ("put", "get"):
                    for n in clients:
                        for t in targets:
                            results.setdefault((t.name, op, n), []).append(load(t, op, n, a.seconds))
        finally:
            for p in ps:
                p.kill()
                p.wait()
    shutil.rmtree(folder, ignore_errors=True)
    table(results, probes, clients)


if __name__ == "__main__":
    main()
