"""Real picketds alone, without hosts around them: init, join, start, stop, ask over HTTPS.  Standard library only."""

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
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

PICKET = os.path.join(dev.BIN, "picket")


def b64(s):
    return base64.b64encode(s.encode()).decode()


class Picketds:
    """Hosts are called node1, node2, ...; each has a folder with etc/, data/ and log."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="picket-ds-")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("PICKET") and k != "KUBECONFIG"}
        self.procs = {}
        self.programs = {}  # host -> another picketd than the one of PICKET_BIN_DIR
        self.port = random.randrange(20000, 30000) * 2
        self.net = random.randrange(70, 250)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for host in list(self.procs):
            self.stop(host, signal.SIGKILL)
        if kind is None:
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            sys.stderr.write("kept for inspection: %s\n" % self.dir)
        return False

    def path(self, host, *rel):
        return os.path.join(self.dir, host, *rel)

    def ip(self, host, link=0):
        return "127.%d.%d.%s" % (self.net, 77 + link, host[4:])

    def args(self, host):
        os.makedirs(self.path(host), exist_ok=True)
        return ["--name", host, "--address", self.ip(host), "--dir", self.path(host, "etc"), "--data",
                self.path(host, "data"), "--api-port", str(self.port), "--peer-port", str(self.port + 1), "--lab"]

    def run(self, *args, rc=0, admin="node1", server=None, stdin=None, timeout=100):
        env = dict(self.env, PICKETCONFIG=self.path(admin, "etc", "admin.conf"))
        more = ["--server", "%s:%d" % (self.ip(server), self.port)] if server else []
        p = subprocess.run([PICKET] + list(args) + more, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, timeout=timeout, input=stdin)
        dev.check(rc is None or p.returncode == rc, "picket %s: exit %d\n%s%s" % (" ".join(args)[:200], p.returncode,
                                                                               p.stdout, p.stderr))
        return p

    def conf(self, host, line):
        """One line more in picketd.conf."""
        with open(self.path(host, "etc", "picketd.conf"), "a") as f:
            f.write(line + "\n")

    def unconf(self, host, key):
        path = self.path(host, "etc", "picketd.conf")
        with open(path) as f:
            lines = [s for s in f if not s.startswith(key)]
        with open(path, "w") as f:
            f.writelines(lines)

    def start(self, host):
        with open(self.path(host, "log"), "a") as log:
            self.procs[host] = subprocess.Popen([self.programs.get(host, os.path.join(dev.BIN, "picketd")), "--config",
                                                 self.path(host, "etc", "picketd.conf")], env=self.env, stdout=log,
                                                stderr=log)

    def stop(self, host, sig=signal.SIGTERM):
        p = self.procs.pop(host)
        p.send_signal(sig)
        p.wait(10)

    def ended(self, host):
        """Its exit status, or None while it runs."""
        return self.procs[host].poll()

    def form(self, count, before_start=None, before_join=None):
        """node1 begins, the others join as voters."""
        for i in range(1, count + 1):
            host = "node%d" % i
            if before_join:
                before_join(self, host)
            if i == 1:
                self.run("init", *self.args(host))
            if i > 1:
                token = self.run("token", "create", "--voter").stdout.strip()
                self.run("join", token, *self.args(host))
            if before_start:
                before_start(host)
            self.start(host)
            self.wait("%s votes" % host, lambda: self.members().get(host, {}).get("role") == "voter")

    def members(self):
        p = self.run("member", "list", "-o", "json", rc=None)
        return {m["name"]: m for m in json.loads(p.stdout)["items"]} if p.returncode == 0 else {}

    def leader(self):
        return next((n for n, m in self.members().items() if m["leader"]), None)

    def followers(self):
        return sorted(n for n, m in self.members().items() if not m["leader"])

    def log(self, host):
        with open(self.path(host, "log")) as f:
            return f.read()

    def wait(self, what, fn, seconds=60, every=0.1):
        end = time.monotonic() + seconds
        while True:
            v = fn()
            if v:
                return v
            if time.monotonic() > end:
                logs = "".join("--- %s\n%s" % (h, self.log(h)[-1500:]) for h in sorted(self.procs))
                raise dev.Failed("waited %d s for: %s\n%s" % (seconds, what, logs))
            time.sleep(every)

    # --- HTTPS ---

    def context(self, admin="node1"):
        tls = self.path(admin, "etc", "tls")
        ctx = ssl.create_default_context(cafile=tls + "/ca.crt")
        ctx.check_hostname = False
        ctx.load_cert_chain(tls + "/admin.crt", tls + "/admin.key")
        return ctx

    def https(self, host, method, path, body=None, headers=None, timeout=10):
        """(status, JSON or text); status 0: no answer, and why."""
        c = http.client.HTTPSConnection(self.ip(host), self.port, context=self.context(), timeout=timeout)
        try:
            data = None if body is None else json.dumps(body)
            c.request(method, path, data, dict({"Content-Type": "application/json"}, **(headers or {})))
            r = c.getresponse()
            text = r.read().decode()
            try:
                return r.status, json.loads(text)
            except ValueError:
                return r.status, text
        except (OSError, http.client.HTTPException) as e:
            return 0, str(e)
        finally:
            c.close()

    def view(self, host):
        v = self.https(host, "GET", "/cluster")[1]
        return v if isinstance(v, dict) else {}

    def metric(self, host, name):
        text = self.https(host, "GET", "/metrics")[1]
        return next((float(s.split()[1]) for s in text.splitlines() if s.startswith(name + " ")), None)

    def put(self, host, key, value, headers=None):
        return self.https(host, "POST", "/v3/kv/put", {"key": b64(key), "value": b64(value)}, headers)

    def count(self, host, prefix):
        """Keys with this prefix; -1: no answer."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        got = self.https(host, "POST", "/v3/kv/range", {"key": b64(prefix), "range_end": b64(end),
                                                        "count_only": True})[1]
        return int(got.get("count", 0)) if isinstance(got, dict) and "header" in got else -1

    def cluster(self):
        p = self.run("get", "cluster", "cluster", "-o", "json", rc=None)
        return json.loads(p.stdout) if p.returncode == 0 else {}

    def condition(self, kind):
        for c in self.cluster().get("status", {}).get("conditions", []):
            if c["type"] == kind:
                return c
        return {}
