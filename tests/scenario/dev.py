"""Scenarios on `picket dev`: real processes, real time."""

import http.client
import json
import os
import re
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "dev"))
import cluster  # noqa: E402
import engine  # noqa: E402
import lang  # noqa: E402

PROCS = {"agent": "picket-agent", "watchdog": "picket-watchdog", "picketd": "picketd", "picket-agent": "picket-agent",
         "picket-watchdog": "picket-watchdog"}


class Dev:
    name = "dev"

    def __init__(self, _program, _seed, log):
        self.log = log
        self.c = None
        self.origin = time.monotonic()
        self.good = None

    def close(self):
        if self.c is not None:
            self.c.__exit__(None, None, None)

    # --- life ---

    def begin(self, setup):
        self.c = cluster.Cluster(setup.hosts)
        self.c.up_args = ["--timing", "%s/%s" % (setup.heartbeat, setup.host_timeout)]
        self.c.up()
        self.origin = time.monotonic()
        code, text = self.apply("---\n".join(json.dumps(m) + "\n" for m in setup.manifests()))
        if code >= 300:
            raise ValueError("the set-up was refused: %s" % text)

    def finish(self):
        self.c.check_single_writer()

    def now(self):
        return time.monotonic() - self.origin

    def run(self, seconds):
        time.sleep(seconds)

    def violation(self):
        try:
            self.c.check_single_writer()
        except cluster.Failed as e:
            return str(e)
        return None

    # --- the user ---

    def apply(self, text):
        p = self.c.run("apply", "-f", "-", stdin=text, check_rc=False)
        return (200 if p.returncode == 0 else 409), p.stdout + p.stderr

    def request(self, method, path, body=None, content_type="application/json"):
        """As the administrator, to the first host that answers."""
        pki = os.path.join(self.c.dir, "pki")
        tls = ssl.create_default_context(cafile=os.path.join(pki, "ca.crt"))
        tls.check_hostname = False
        tls.load_cert_chain(os.path.join(pki, "admin.crt"), os.path.join(pki, "admin.key"))
        text = open(os.path.join(self.c.dir, "kubeconfig")).read()
        servers = re.findall(r"https://([0-9.]+):(\d+)", text)
        if self.good in servers:
            servers.insert(0, self.good)
        last = "no server in the kubeconfig"
        for server in servers:
            try:
                h = http.client.HTTPSConnection(server[0], int(server[1]), timeout=3, context=tls)
                h.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": content_type})
                r = h.getresponse()
                self.good = server
                return r.status, r.read().decode()
            except OSError as e:
                last = str(e)
        return 503, last

    def request_by(self, method, path, body, by):
        raise engine.Skip("`request ... as` and `id` are for the simulator only")

    # --- faults ---

    def unwedge(self, host):
        """A host that was switched off meanwhile (fenced before its watchdog reset it) has nothing to go on with."""
        p = self.c.dev("unwedge", host, check_rc=False)
        if p.returncode != 0 and "is off" not in p.stderr:
            raise engine.Wrong("picket dev unwedge %s: exit %d: %s" % (host, p.returncode, p.stderr))

    def fault(self, step, w):
        verb = w[0]
        if verb == "power":
            self.c.dev("power", w[2], w[1])
        elif verb == "unwedge":
            self.unwedge(w[1])
        elif verb in ("reset", "wedge"):
            self.c.dev(verb, w[1])
        elif verb == "suspend":
            self.c.dev("wedge", w[1])
            time.sleep(lang.seconds(w[3]))
            self.unwedge(w[1])
        elif verb in ("kill", "stop", "start"):
            self.c.dev(verb, w[2], PROCS[w[1]])
        elif verb in ("stall", "resume"):
            self.c.dev("kill", w[2], PROCS[w[1]], "--signal", "STOP" if verb == "stall" else "CONT")
        elif verb == "cut":
            self.cut(w[1:])
        elif verb == "heal":
            self.c.dev("heal", *w[1:])
        else:
            raise engine.Skip("`%s` is for the simulator only" % verb)

    def cut(self, w):
        args = [w[0]]
        for word in ("link", "from"):
            if word in w:
                args += ["--" + word, w[w.index(word) + 1]]
        for way in ("in", "out"):
            if way in w:
                args += ["--direction", way]
        self.c.dev("cut", *args)

    # --- looking ---

    def guest_on(self, vm):
        """The host that wrote last, if that was within the last second.  (Two writers are found by violation.)"""
        for lines in self.c.writers().values():
            if lines and lines[-1][2] == vm:
                return [lines[-1][1]] if time.time() - lines[-1][0] < 1.0 else []
        return []

    def leader(self):
        return ((self.c.get("cluster", "cluster") or {}).get("status") or {}).get("leader", "")

    def incarnation_state(self, host):
        return ((self.c.get("host", host) or {}).get("status") or {}).get("incarnationState", "")

    def is_on(self, host):
        out = self.c.dev("status").stdout
        return any(line.split()[:2] == [host, "on"] for line in out.splitlines())

    def asked_twice(self):
        raise engine.Skip("only the simulator sees who asks a device when")

    def power_offs(self):
        return sum(1 for f in self.c.items("fencings") if f.get("status", {}).get("proof") == "Off")
