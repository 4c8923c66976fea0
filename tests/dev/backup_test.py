#!/usr/bin/env python3
"""`picket backup`, `verify`, `restore`, `recover`: whole, verifiable, under a new epoch, and nothing starts before
every host is accounted for."""

import http.client
import json
import os
import random
import signal
import ssl
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

sys.path.insert(0, os.path.join(dev.ROOT, "tests", "bench"))
import stores  # noqa: E402

BOOK = os.path.join(dev.ROOT, "examples", "book-cluster.yaml")


def free_port():
    return stores.free_ports(1)[0]


class Single:
    """One picketd outside of the dev cluster, with the identity of its node1."""

    def __init__(self, c, data, member_id, cluster_id):
        self.c = c
        self.api = "127.0.0.1:%d" % free_port()
        pki = os.path.join(c.dir, "pki")
        conf = os.path.join(data, "picketd.conf")
        with open(conf, "w") as f:
            f.write("# a test's\nname = node1\ndata = %s\nid = %d\nlisten-peer = 127.0.0.1:%d\nlisten-api = %s\n"
                    "cluster = %s\ntls-cert = %s/node1-voter.crt\ntls-key = %s/node1-voter.key\ntls-ca = %s/ca.crt\n"
                    "lab\n" % (data, member_id, free_port(), self.api, cluster_id, pki, pki, pki))
        env = {k: v for k, v in os.environ.items() if k != "PICKET_ADDRESS_MAP"}
        self.log = open(os.path.join(data, "log"), "a")
        self.p = subprocess.Popen([os.path.join(dev.BIN, "picketd"), "--config", conf], env=env, stdout=self.log,
                                  stderr=self.log)

    def ask(self, target):
        pki = os.path.join(self.c.dir, "pki")
        ctx = ssl.create_default_context(cafile=pki + "/ca.crt")
        ctx.check_hostname = False
        ctx.load_cert_chain(pki + "/admin.crt", pki + "/admin.key")
        h = http.client.HTTPSConnection(self.api, context=ctx, timeout=5)
        try:
            h.request("GET", target)
            return json.loads(h.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            h.close()

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        self.p.wait(10)
        self.log.close()


def check_damage(c, path):
    rng = random.Random(3)
    with open(path, "rb") as f:
        good = f.read()
    bad = path + ".bad"
    for i in range(25):
        at = [0, 9, len(good) - 1, len(good) // 2][i] if i < 4 else rng.randrange(len(good))
        with open(bad, "wb") as f:
            f.write(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
        p = c.run("backup", "verify", bad, check_rc=False)
        dev.check(p.returncode == 1 and "no whole backup" in p.stderr, "byte %d: %d %s" % (at, p.returncode, p.stderr))
    with open(bad, "wb") as f:
        f.write(good[:-40])
    p = c.run("backup", "verify", bad, check_rc=False)
    dev.check(p.returncode == 1, "a backup that was cut short is whole: %s" % p.stdout)


def check_single(c, data, member_id, cluster_id, epoch, want):
    one = Single(c, data, member_id, cluster_id)
    try:
        c.wait("the restored node leads", lambda: (one.ask("/cluster") or {}).get("role") == "leader", 30)
        view = one.ask("/cluster")
        dev.check(view["epoch"] == epoch and view["clusterID"] == cluster_id, "view: %s" % view)
        dev.check([p["id"] for p in view["peers"]] == [member_id], "members: %s" % view["peers"])
        vms = one.ask("/apis/picket/v1/virtualmachines")["items"]
        dev.check(sorted(v["metadata"]["name"] for v in vms) == want, "machines: %s" % vms)
        locks = one.ask("/apis/picket/v1/locks")["items"]
        dev.check(len(locks) > 0 and all("uarantine" in json.dumps(k) for k in locks), "locks: %s" % locks[:1])
    finally:
        one.stop()


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        c.apply(path=BOOK)
        c.wait_running("vm1", "vm2")
        want = sorted(v["metadata"]["name"] for v in c.items("vm"))
        path = os.path.join(c.dir, "one.backup")
        out = c.run("backup", "-o", path).stdout
        dev.check("epoch 1" in out and "member then: 3 node3" in out, out)
        dev.check(c.run("backup", "verify", path).stdout == out, "verify says something else")
        p = c.run("backup", "-o", path, check_rc=False)
        dev.check(p.returncode != 0 and "exists" in p.stderr, "a backup was overwritten: %s" % p.stderr)
        check_damage(c, path)

        data = os.path.join(c.dir, "restored")
        args = ("restore", path, "--name", "node1", "--address", "127.0.0.1:1", "--data", data)
        out = c.run(*args, "--joined", "node9").stdout
        dev.check("id 4, epoch 2" in out, out)
        p = c.run(*args, check_rc=False)
        dev.check(p.returncode != 0 and "store already" in p.stderr, "a store was overwritten: %s" % p.stderr)
        dev.check("quarantine" in c.run("store", "check", data).stdout, "no quarantine")
        cluster_id = [w for w in out.split() if w.count("-") == 4][0].strip(":")
        check_single(c, data, 4, cluster_id, 2, want)

        # The majority is lost for good: node1 goes on alone with what it has.
        for n in ("node1", "node2", "node3"):
            c.dev("stop", n, "picketd")
        data = os.path.join(c.dir, "hosts", "node1", "store")
        c.wait("picketd gone", lambda: c.run("store", "check", data, check_rc=False).returncode == 0, 10)
        args = ("recover", "--name", "node1", "--address", "127.0.0.1:1", "--data", data)
        p = c.run(*args, check_rc=False)
        dev.check(p.returncode == 2 and "THE RISK" in p.stderr, "recover without a word: %s" % p.stderr)
        out = c.run(*args, "--lost-for-good").stdout
        dev.check("id 4, epoch 2" in out and "kept in" in out, out)
        check_single(c, data, 4, cluster_id, 2, want)


dev.main(test)
