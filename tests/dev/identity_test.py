#!/usr/bin/env python3
"""`picket init`, `token`, `join`: three real picketd on loopback enrol each other; tokens are good once; whoever has only
a token, or another cluster's certificate, gets nothing."""

import base64
import http.client
import json
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

PICKET = os.path.join(dev.BIN, "picket")
PORT = random.randrange(20000, 30000) * 2


class Hosts:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="picket-id-")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("PICKET") and k != "KUBECONFIG"}
        self.procs = {}

    def path(self, host, *rel):
        return os.path.join(self.dir, host, *rel)

    def args(self, host):
        return ["--name", host, "--address", "127.0.77.%s" % host[-1], "--dir", self.path(host, "etc"), "--data",
                self.path(host, "data"), "--api-port", str(PORT), "--peer-port", str(PORT + 1), "--lab"]

    def run(self, *args, rc=0, admin="node1"):
        env = dict(self.env, PICKETCONFIG=self.path(admin, "etc", "admin.conf"))
        p = subprocess.run([PICKET] + list(args), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           timeout=100)
        dev.check(rc is None or p.returncode == rc, "picket %s: exit %d\n%s%s" % (" ".join(args)[:200], p.returncode,
                                                                               p.stdout, p.stderr))
        return p

    def start(self, host):
        log = open(self.path(host, "log"), "a")
        self.procs[host] = subprocess.Popen([os.path.join(dev.BIN, "picketd"), "--config",
                                             self.path(host, "etc", "picketd.conf")], env=self.env, stdout=log,
                                            stderr=log)
        log.close()

    def stop(self, host, sig=signal.SIGTERM):
        p = self.procs.pop(host)
        p.send_signal(sig)
        p.wait(10)

    def members(self):
        p = self.run("member", "list", "-o", "json", rc=None)
        return {m["name"]: m for m in json.loads(p.stdout)["items"]} if p.returncode == 0 else {}

    def log(self, host):
        with open(self.path(host, "log")) as f:
            return f.read()


def https(h, host, cert, key, ca, method, path):
    """(status, text), or the reason why the connection was refused."""
    ctx = ssl.create_default_context(cafile=ca)
    ctx.check_hostname = False
    ctx.load_cert_chain(cert, key)
    c = http.client.HTTPSConnection("127.0.77.%s" % host[-1], PORT, context=ctx, timeout=10)
    try:
        c.request(method, path)
        r = c.getresponse()
        return r.status, r.read().decode()
    except (OSError, http.client.HTTPException) as e:
        return 0, str(e)
    finally:
        c.close()


def check_token_rights(h, token):
    """A token's certificate may join and nothing else."""
    t = json.loads(base64.b64decode(token[len("pkt1."):]))
    files = {}
    for k in ("cert", "key", "ca"):
        files[k] = os.path.join(h.dir, "token." + k)
        with open(files[k], "w") as f:
            f.write(t[k])
    for method, path in (("GET", "/apis/picket/v1/hosts"), ("GET", "/apis/picket/v1/backup"),
                         ("POST", "/apis/picket/v1/tokens"), ("POST", "/v3/kv/put"), ("GET", "/cluster"),
                         ("DELETE", "/apis/picket/v1/members/node1"), ("POST", "/apis/picket/v1/apply")):
        status, text = https(h, "node1", files["cert"], files["key"], files["ca"], method, path)
        dev.check(status in (400, 403, 405, 422), "%s %s with a token: %d %s" % (method, path, status, text))


def check_foreign(h, wait):
    """Another cluster's administrator and voter are refused, with a reason on both sides."""
    h.run("init", *h.args("other9"))
    tls = h.path("other9", "etc", "tls")
    status, why = https(h, "node1", tls + "/admin.crt", tls + "/admin.key", h.path("node1", "etc", "tls", "ca.crt"),
                        "GET", "/cluster")
    dev.check(status == 0, "a foreign administrator got %d" % status)
    wait("node1 says that it refused somebody", lambda: "refused" in h.log("node1"))
    p = h.run("get", "hosts", "--server", "127.0.77.1:%d" % PORT, rc=None, admin="other9")
    dev.check(p.returncode != 0 and "certificate" in p.stderr, "no reason on the other side: %s" % p.stderr)


def test_all(h, wait):
    h.run("init", *h.args("node1"))
    p = h.run("init", *h.args("node1"), rc=None)
    dev.check(p.returncode != 0 and "already" in p.stderr, "init twice: %s" % p.stderr)
    for f in ("ca.key", "seal.key", "voter.key", "agent.key", "admin.key"):
        dev.check(os.stat(h.path("node1", "etc", "tls", f)).st_mode & 0o077 == 0, "%s can be read by others" % f)
    h.start("node1")
    wait("node1 leads", lambda: h.members().get("node1", {}).get("leader"))

    token = h.run("token", "create", "--voter").stdout.strip()
    check_token_rights(h, token)
    p = h.run("join", token[:-9], *h.args("node2"), rc=None)
    dev.check(p.returncode == 1 and "no whole token" in p.stderr, p.stderr)
    h.run("join", token, *h.args("node2"))
    h.start("node2")
    p = h.run("join", token, *h.args("node4"), rc=None)
    dev.check(p.returncode != 0 and "used already" in p.stderr, "a token was good twice: %s" % p.stderr)
    dev.check(os.listdir(h.path("node4", "etc", "tls")) == [], "keys are left of an enrolment that was refused")
    wait("node2 votes", lambda: h.members().get("node2", {}).get("role") == "voter")
    token = h.run("token", "create", "--voter").stdout.strip()
    h.run("join", token, *h.args("node3"))
    h.start("node3")
    wait("node3 votes", lambda: h.members().get("node3", {}).get("role") == "voter")
    dev.check(sorted(m["id"] for m in h.members().values()) == [1, 2, 3], "ids: %s" % h.members())

    # A host without a vote gets an agent's certificate and no secrets of the cluster.
    h.run("join", h.run("token", "create").stdout.strip(), *h.args("node5"))
    dev.check(sorted(os.listdir(h.path("node5", "etc", "tls"))) == ["agent.crt", "agent.key", "ca.crt"],
              "files of node5: %s" % os.listdir(h.path("node5", "etc", "tls")))
    dev.check("node5" not in h.members(), "node5 is a member")
    check_foreign(h, wait)

    # The cluster lives without the host that it began on; a joined voter enrols the next one.
    server = ["--server", "127.0.77.2:%d" % PORT]
    h.stop("node1", signal.SIGKILL)
    wait("node2 or node3 leads", lambda: h.run("member", "list", *server, rc=None).returncode == 0)
    h.run("member", "remove", "node1", *server)
    token = h.run("token", "create", "--voter", *server).stdout.strip()
    h.run("join", token, *h.args("node6"))
    h.start("node6")

    def votes():
        p = h.run("member", "list", "-o", "json", *server, rc=None)
        return p.returncode == 0 and {m["name"]: m["role"] for m in json.loads(p.stdout)["items"]} == {
            "node2": "voter", "node3": "voter", "node6": "voter"}

    wait("node6 votes in the place of node1", votes)
    check_tokens_last(h, server)


def check_tokens_last(h, server):
    """A token is spent by who is let in: not by a name that is taken, not by a change of others at the same time."""
    hosts = ["node4", "node7", "node8", "node9"]
    tokens = [h.run("token", "create", "--voter", *server).stdout.strip() for _ in hosts]
    p = h.run("join", tokens[0], *h.args("node3"), "--dir", h.path("other9", "etc2"), rc=None)
    dev.check(p.returncode != 0 and "is a member already" in p.stderr, "a name was given twice: %s" % p.stderr)
    procs = [subprocess.Popen([PICKET, "join", t] + h.args(host), env=h.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) for t, host in zip(tokens, hosts)]
    for p, host in zip(procs, hosts):
        out, err = p.communicate(timeout=100)
        dev.check(p.returncode == 0, "%s, together with others: %s%s" % (host, out, err))
    p = h.run("member", "list", "-o", "json", *server)
    names = [m["name"] for m in json.loads(p.stdout)["items"]]
    dev.check(sorted(names) == sorted(hosts + ["node2", "node3", "node6"]), "members: %s" % names)


def test():
    c = dev.Cluster(0)
    c.picture = lambda: ""
    h = Hosts()
    for n in range(1, 10):
        os.mkdir(h.path("node%d" % n))
    os.mkdir(h.path("other9"))
    ok = False
    try:
        test_all(h, lambda what, fn: c.wait(what, fn, 40, 0.2))
        ok = True
    finally:
        for host in list(h.procs):
            h.stop(host, signal.SIGKILL)
        if ok:
            shutil.rmtree(h.dir, ignore_errors=True)
        else:
            sys.stderr.write("kept for inspection: %s\n" % h.dir)
        shutil.rmtree(c.dir, ignore_errors=True)


dev.main(test)
