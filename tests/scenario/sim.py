"""Scenarios on the simulator: a child process (shell.c) that owns one world; lines of JSON in, lines of JSON out."""

import json
import os
import subprocess

import lang
import objects

LEVELS = {frozenset(["pdu"]): "pdu", frozenset(["bmc"]): "bmc", frozenset(["bmc", "pdu"]): "bmc-pdu",
          frozenset(["watchdog"]): "watchdog", frozenset(["pdu", "watchdog"]): "pdu-watchdog"}
PROCS = {"picketd": "picketd", "picket-agent": "agent", "agent": "agent", "picket-watchdog": "watchdog", "watchdog": "watchdog"}


class Sim:
    name = "sim"

    def __init__(self, program, seed, log):
        self.p = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.seed = seed
        self.log = log
        self.t = 0.0

    def close(self):
        self.p.stdin.close()
        self.p.stdout.close()
        self.p.wait()

    def ask(self, op, *args):
        self.p.stdin.write(json.dumps([op] + list(args)) + "\n")
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        if not line:
            raise RuntimeError("the simulator ended (%s) at %s %s" % (self.p.wait(), op, args))
        r = json.loads(line)
        if "error" in r:
            raise ValueError("%s: %s" % (op, r["error"]))
        self.t = r["now"] / 1000.0
        for text in r["log"]:
            self.log(text)
        return r.get("value")

    # --- life ---

    def begin(self, setup):
        used = frozenset(w for level in [setup.levels] + list(setup.device_of.values()) for part in level for w in part)
        self.ask("new", {"seed": self.seed, "hosts": setup.hosts, "witness": setup.witness, "links": 2,
                         "heartbeat": int(lang.seconds(setup.heartbeat) * 1000),
                         "timeout": int(lang.seconds(setup.host_timeout) * 1000),
                         "fencing": LEVELS.get(used & {"pdu", "bmc", "watchdog"}, "pdu" if used else "none"),
                         "watchdog": "watchdog" in used,
                         "freeze": lookup_freeze(setup.cluster)})
        self.vms = [name for name, _ in setup.vms]
        wanted = setup.manifests()
        if not setup.cold:  # guests are placed when every host is there: then their places do not hang on who booted first
            self.declare([m for m in wanted if m["kind"] in ("Cluster", "Secret", "FenceDevice", "Host")])
            for _ in range(240):
                if all(self.ask("inc-state", "node%d" % i) == "Live" for i in range(1, setup.hosts + 1)):
                    break
                self.run(0.25)
            self.run(4)
        self.declare(wanted)

    def declare(self, manifests):
        code, answer = self.apply("---\n".join(json.dumps(m) + "\n" for m in manifests), 60000)
        if code >= 300:
            raise ValueError("the set-up was refused: %s" % answer)

    def finish(self):
        pass

    def now(self):
        return self.t

    def run(self, seconds):
        self.ask("run", int(round(seconds * 1000)))

    def violation(self):
        return self.ask("violation")

    # --- the user ---

    def apply(self, text, ms=10000):
        r = self.ask("apply", text, ms)
        return (200, "") if r is True else (409, r)

    def request(self, method, path, body=None, content_type="application/json"):
        """What a person does: looks again when a host does not answer, and repeats what may not have happened."""
        for i in range(5):
            r = self.ask("request", method, path, content_type, body, 1000 if method in ("GET", "PATCH") else 5000)
            if i > 0 and method == "DELETE" and r["code"] == 404:
                return 200, ""
            if "text" not in r or not r["unsure"]:
                break
        return r["code"], r["text"] if "text" in r else json.dumps(r["body"])

    def request_by(self, method, path, body, by):
        """Once, by somebody else or under a request id: {"role", "name", "id"}."""
        r = self.ask("request", method, path, "application/json", body, 5000, by)
        return r["code"], r["text"] if "text" in r else json.dumps(r["body"])

    # --- faults ---

    def fault(self, step, w):
        fn = getattr(self, "do_" + w[0], None)
        if fn is None:
            raise step.error("the simulator cannot do this")
        fn(step, w[1:])

    def do_power(self, step, w):
        self.ask("power", w[1], w[0] == "on")

    def do_reset(self, step, w):
        self.ask("reset", w[0])

    def do_wedge(self, step, w):
        self.ask("suspend", w[0], True)

    def do_unwedge(self, step, w):
        self.ask("suspend", w[0], False)

    def do_suspend(self, step, w):
        self.ask("suspend", w[0], True)
        self.run(lang.seconds(w[2]))
        self.ask("suspend", w[0], False)

    def do_kill(self, step, w):
        self.ask("kill", w[1], PROCS[w[0]], False)

    def do_stop(self, step, w):
        self.ask("kill", w[1], PROCS[w[0]], True)

    def do_start(self, step, w):
        self.ask("start", w[1], PROCS[w[0]])

    def do_stall(self, step, w):
        self.ask("pause", w[1], PROCS[w[0]], True)

    def do_resume(self, step, w):
        self.ask("pause", w[1], PROCS[w[0]], False)

    def do_cut(self, step, w):
        host, link, way, other = w[0], -1, "", None
        if "link" in w:
            link = int(w[w.index("link") + 1]) - 1
        if "from" in w:
            other = w[w.index("from") + 1]
        for d in ("in", "out"):
            if d in w:
                way = d
        if other == "gateway":
            self.ask("gateway-cut", host, True)
        elif other is not None and self.ask("is-device", other):
            self.ask("device-cut", host, other, True)
        elif other is None and link < 0 and not way:
            self.ask("isolate", host, True)
        else:
            self.ask("cut", host, other, link, way, True)

    def do_heal(self, step, w):
        self.ask("heal")

    def do_device(self, step, w):
        if w[1] == "slow":
            self.ask("device-latency", w[0], int(lang.seconds(w[2]) * 1000))
        else:
            self.ask("device", w[0], w[1])

    def do_guest(self, step, w):
        if not self.ask("guest", w[0], w[1]):
            raise step.error("%s runs nowhere" % w[0])

    def do_storage(self, step, w):
        for volume in w[2:] or ["vg0/%s-root" % name for name in self.vms]:
            self.ask("volume-cut", w[0], volume, w[1] == "lost")

    def do_clock(self, step, w):
        self.ask("clock", w[0], int(lang.seconds(w[1]) * 1000))

    def do_disk(self, step, w):
        self.ask("disk", w[0], w[1], int(lang.seconds(w[2]) * 1000) if len(w) > 2 else 0)

    def do_job(self, step, w):
        self.ask("job", w[0], w[1], w[2], int(w[3]) if len(w) > 3 else 1)

    # --- looking ---

    def guest_on(self, vm):
        on = self.ask("vm-on", vm)
        return [on] if on else []

    def leader(self):
        return self.ask("leader")

    def incarnation_state(self, host):
        return self.ask("inc-state", host)

    def is_on(self, host):
        return self.ask("is-on", host)

    def asked_twice(self):
        return self.ask("stats")["asked_twice"]

    def power_offs(self):
        return self.ask("stats")["power_offs"]


def lookup_freeze(cluster):
    return cluster.get("spec", {}).get("onQuorumLoss") == "Freeze"


def program():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return os.environ.get("PICKET_SIM_SHELL", os.path.join(root, "build", "scenario", "shell"))
