"""Runs the steps of a scenario on a backend (sim.py or dev.py) and judges what it sees."""

import json
import re

import lang
import objects

PLURALS = {"vm": "virtualmachines", "host": "hosts", "fencing": "fencings", "lock": "locks", "cluster": "clusters",
           "volume": "volumes", "migration": "migrations", "device": "fencedevices", "rule": "placementrules",
           "check": "networkchecks", "group": "volumegroups", "bridge": "bridges", "secret": "secrets"}
BASE = "/apis/picket/v1/"


class Wrong(Exception):
    """An expectation was not met."""


def plural(kind):
    return PLURALS.get(kind.lower(), kind.lower())


def lookup(obj, path):
    """status.conditions[Ready].reason: a member, an index, or an element by its type or name."""
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(obj, list):
            if part.lstrip("-").isdigit():
                obj = obj[int(part)] if -len(obj) <= int(part) < len(obj) else None
            else:
                obj = next((x for x in obj if isinstance(x, dict) and part in (x.get("type"), x.get("name"), x.get("host"))), None)
        else:
            obj = obj.get(part) if isinstance(obj, dict) else None
        if obj is None:
            return None
    return obj


def words_of(obj):
    """What an object says about itself: every reason and message of its status."""
    out = []

    def walk(x):
        if isinstance(x, dict):
            for k, v in x.items():
                if k in ("reason", "message", "statement", "phase", "result", "detail") and isinstance(v, str):
                    out.append(v)
                walk(v)
        elif isinstance(x, list):
            for v in x:
                walk(v)

    walk((obj or {}).get("status", {}))
    return "\n".join(out)


class Skip(Exception):
    """This backend cannot do what the scenario asks for."""


class Engine:
    def __init__(self, backend, title, steps, say):
        self.b = backend
        self.title = title
        self.steps = steps
        self.say = say
        self.setup = objects.Setup()
        self.names = {}
        self.always = []   # (step, words, wanted)
        self.finally_ = []
        self.born = {}     # vm -> (host, incarnation) when everything first ran
        self.begun = False

    # --- running ---

    def run(self):
        for step in self.steps:
            self.step(step)
        for step, words, limit in self.finally_:
            self.wait_for(step, words, limit)
        self.watch(None)
        self.ending()
        self.b.finish()

    def ending(self):
        """What the objects say in the end."""
        for name, _ in self.setup.vms:
            obj = self.get("virtualmachines", name) or {}
            ready = lookup(obj, "status.conditions[Ready]") or {}
            self.say("in the end %s: %s, %s" % (name, lookup(obj, "status.phase"), ready.get("reason")))

    def step(self, step):
        w = [self.names.get(x, x) for x in step.words]
        if len(w) > 2 and w[1] == "=":
            self.names[step.words[0]] = self.evaluate(step, w[2:])
            self.say("%s: %s" % (step.text, self.names[step.words[0]]))
            return
        self.say(step.text)
        try:
            self.dispatch(step, w)
        except (IndexError, KeyError, ValueError) as e:
            raise step.error("cannot be read (%s: %s)" % (type(e).__name__, e))

    def dispatch(self, step, w):
        verb = w[0]
        if verb in lang.SETUP:
            if self.begun:
                raise step.error("set-up comes before `begin`")
            self.setup.take(step)
        elif verb == "begin":
            self.begin(step, w)
        elif verb == "wait":
            self.wait(lang.seconds(w[1]))
        elif verb == "note":
            pass
        elif verb == "expect":
            words, limit = lang.split_within(step, w[1:], 0)
            self.wait_for(step, words, limit)
        elif verb in ("always", "never"):
            self.always.append((step, w[1:], verb == "always"))
            self.watch(None)
        elif verb == "finally":
            words, limit = lang.split_within(step, w[1:], 120)
            self.finally_.append((step, words, limit))
        elif verb == "denied":
            self.denied(step, w[1], w[2:])
        elif verb in lang.USER:
            code, text = self.user(step, w)
            if code >= 300:
                raise Wrong("line %d: %s\n    refused: %d %s" % (step.number, step.text, code, text))
        else:
            self.b.fault(step, w)

    def begin(self, step, w):
        """Hosts on, objects applied; unless `begin cold`, wait until everything declared runs."""
        self.begun = True
        self.setup.cold = "cold" in w[1:]
        self.b.begin(self.setup)
        if "cold" in w[1:]:
            return
        self.wait_for(step, ["all", "hosts", "ready"], 120)
        up = self.b.now()
        self.wait_for(step, ["all", "vms", "run"], 180)
        self.wait_for(step, ["settled"], 60)
        grace = 2 * lang.seconds(self.setup.host_timeout) + 2  # startupGrace, in which nobody is fenced
        self.wait(max(0, up + grace - self.b.now()))
        for name, _ in self.setup.vms:
            self.born[name] = self.token(name)

    def denied(self, step, pattern, words):
        code, text = self.user(step, words)
        if code < 300:
            raise Wrong("line %d: %s\n    was accepted" % (step.number, step.text))
        if not re.search(pattern, text, re.I):
            raise Wrong("line %d: %s\n    was refused for another reason: %s" % (step.number, step.text, text))

    def wait(self, seconds):
        end = self.b.now() + seconds
        while True:
            left = end - self.b.now()
            if left <= 0.0005:
                return
            # A look may wait for a host that does not answer: short waits are kept exact, and looked at afterwards.
            self.b.run(left if seconds <= 2 else min(0.5, left))
            if seconds > 2:
                self.watch(None)

    def watch(self, _):
        broken = self.b.violation()
        if broken:
            raise Wrong("a promise was broken: %s" % broken)
        for step, words, wanted in self.always:
            if self.holds(step, words) is not wanted:
                raise Wrong("line %d: %s\n    does not hold at %.1f s" % (step.number, step.text, self.b.now()))

    def wait_for(self, step, words, limit):
        begin = self.b.now()
        often = self.b.name == "sim" and "migration" in " ".join(words)  # its phases are over in a moment
        while not self.holds(step, words):
            if self.b.now() - begin >= limit:
                raise Wrong("line %d: %s\n    not within %g s\n%s" % (step.number, step.text, limit, self.picture(words)))
            self.b.run(0.01 if often else 0.25)
            self.watch(None)
        if limit:
            self.say("  after %.1f s" % (self.b.now() - begin))

    def picture(self, words):
        out = []
        for w in words:
            for kind in ("virtualmachines", "hosts", "migrations"):
                o = self.get(kind, w) if re.fullmatch(r"[a-z0-9.-]+", w) else None
                if o:
                    out.append("    %s: %s" % (w, json.dumps(o.get("status", {}), sort_keys=True)[:1500]))
        return "\n".join(out)

    # --- asking ---

    def get(self, kind, name):
        code, text = self.b.request("GET", BASE + kind + "/" + name)
        return json.loads(text) if code == 200 else None

    def items(self, kind):
        code, text = self.b.request("GET", BASE + kind)
        return json.loads(text)["items"] if code == 200 else []

    def token(self, vm):
        return lookup(self.get("virtualmachines", vm), "status.token")

    def evaluate(self, step, w):
        if w[:2] == ["host", "of"]:
            on = self.b.guest_on(w[2])
            if not on:
                raise Wrong("line %d: %s runs nowhere" % (step.number, w[2]))
            return on[0]
        if w == ["leader"]:
            return self.b.leader()
        if w[0] == "not":
            for i in range(1, self.setup.hosts + 1):
                name = objects.host_name(i)
                if name not in w[1:] and (name != self.b.leader() or "leader" not in w[1:]):
                    return name
        if w[:2] == ["incarnation", "of"]:
            return str(lookup(self.get("hosts", w[2]), "status.incarnation"))
        raise step.error("known: host of VM, leader, not HOST... [leader], incarnation of HOST")

    # --- conditions ---

    def holds(self, step, words):
        if "or" in words:
            at = words.index("or")
            return self.holds(step, words[:at]) or self.holds(step, words[at + 1:])
        if "and" in words:
            at = words.index("and")
            return self.holds(step, words[:at]) and self.holds(step, words[at + 1:])
        text = " ".join(words)
        for pattern, fn in CONDITIONS:
            m = re.fullmatch(pattern, text, re.S)
            if m:
                return fn(self, *m.groups())
        raise step.error("unknown condition; the forms are listed in docs/scenarios.md")

    def all_hosts_ready(self):
        found = {h["metadata"]["name"]: lookup(h, "status.conditions[Ready].status") for h in self.items("hosts")}
        return len(found) == self.setup.hosts and all(v == "True" for v in found.values())

    def all_vms_run(self):
        return all(self.vm_runs(name) for name, tree in self.setup.vms
                   if tree.get("spec", {}).get("runPolicy", "Running") == "Running")

    def vm_runs(self, vm, host=None):
        on = self.b.guest_on(vm)
        if len(on) != 1 or (host and on[0] != host):
            return False
        o = self.get("virtualmachines", vm)
        return lookup(o, "status.phase") == "Running" and lookup(o, "status.host") == on[0]

    def settled(self):
        """Watchdog terms are confirmed and devices probed: the state that a cluster is in after its first minute."""
        used = {on for name, _ in self.setup.vms for on in self.b.guest_on(name)}
        return all(lookup(h, "status.conditions[FencingReady].status") == "True" for h in self.items("hosts")
                   if h["metadata"]["name"] in used and self.setup.proves(h["metadata"]["name"]))

    def newest_fencing(self, host):
        found = [f for f in self.items("fencings") if lookup(f, "spec.host") == host or lookup(f, "status.host") == host]
        return max(found, key=lambda f: int(f["metadata"].get("resourceVersion", "0").split("-")[-1]), default=None)

    def named(self, text):
        """$NAME in a path or a body."""
        return re.sub(r"\$([a-z]\w*)", lambda m: str(self.names.get(m.group(1), m.group(0))), text)

    def fenced(self, host):
        f = self.newest_fencing(host)
        return bool(f) and lookup(f, "status.phase") in ("Succeeded", "Fenced", "Done")

    def stayed(self, vm):
        return self.token(vm) in (self.born.get(vm), None) and len(self.b.guest_on(vm)) == 1

    # --- the user ---

    def user(self, step, w):
        verb = w[0]
        if verb == "apply":
            return self.b.apply("\n".join(step.block))
        if verb == "set":
            return self.b.request("PATCH", BASE + plural(w[1]) + "/" + w[2], lang.assignments(step, w[3:]),
                                  "application/merge-patch+json")
        if verb == "delete":
            return self.b.request("DELETE", BASE + plural(w[1]) + "/" + w[2])
        if verb == "fence":
            return self.b.request("POST", BASE + "hosts/%s/fence" % w[1], {"reason": " ".join(w[2:]) or "scenario"})
        if verb == "confirm":
            inc = int(w[3]) if len(w) > 3 else lookup(self.get("hosts", w[1]), "status.incarnation")
            return self.b.request("POST", BASE + "hosts/%s/confirm-off" % w[1],
                                  {"incarnation": inc, "statement": "I verified that %s is powered off" % w[1]})
        if verb == "request":
            body = json.loads(self.named("\n".join(step.block))) if step.block else None
            path, by = self.named(w[2]), lang.caller(step, w[3:])
            return self.b.request_by(w[1], path, body, by) if by else self.b.request(w[1], path, body)
        if verb in ("cordon", "uncordon"):
            return self.b.request("PATCH", BASE + "hosts/" + w[1], {"spec": {"unschedulable": verb == "cordon"}},
                                  "application/merge-patch+json")
        if verb == "migrate":
            return self.migrate(w)
        if verb in ("drain", "undrain"):
            return self.b.request("PATCH", BASE + "hosts/" + w[1], {"spec": {"maintenance": verb == "drain"}},
                                  "application/merge-patch+json")
        raise step.error("\"%s\" is not known as a command here" % verb)

    def migrate(self, w):
        spec = {"vm": w[1]}
        if "to" in w:
            spec["target"] = w[w.index("to") + 1]
        for mode in ("Live", "Cold"):
            if mode.lower() in w:
                spec["mode"] = mode
        name = "m-%s-%d" % (w[1], len(self.items("migrations")) + 1)
        self.names["migration"] = name
        return self.b.request("POST", BASE + "migrations", objects.obj("Migration", name, spec))


def says(engine, kind, name, pattern):
    o = engine.get(plural(kind), name)
    return bool(o and re.search(pattern, words_of(o), re.I | re.S))


def compare(engine, kind, name, path, op, wanted):
    have = lookup(engine.get(plural(kind), name), path)
    if op == "=":
        return have == lang.value(wanted) or str(have) == wanted
    if op == "!=":
        return not compare(engine, kind, name, path, "=", wanted)
    if op == "~":
        return have is not None and bool(re.search(wanted, have if isinstance(have, str) else json.dumps(have), re.I))
    if not isinstance(have, (int, float)):
        return False
    return have < float(wanted) if op == "<" else have > float(wanted)


NAME = r"([a-z0-9][a-z0-9.-]*)"
CONDITIONS = [
    (r"all vms run", lambda e: e.all_vms_run()),
    (r"all hosts ready", lambda e: e.all_hosts_ready()),
    (r"no (\S+) contains (.+)", lambda e, k, p: not any(re.search(p, json.dumps(o), re.I) for o in e.items(plural(k)))),
    (r"settled", lambda e: e.settled()),
    (r"nobody fenced", lambda e: not e.items("fencings")),
    (r"devices asked by one at a time", lambda e: e.b.asked_twice() == 0),
    (r"nobody powered off", lambda e: not e.b.power_offs()),
    (r"a leader", lambda e: bool(e.b.leader())),
    (NAME + r" leads", lambda e, h: e.b.leader() == h),
    (NAME + r" runs", lambda e, v: e.vm_runs(v)),
    (NAME + r" runs on " + NAME, lambda e, v, h: e.vm_runs(v, h)),
    (NAME + r" runs not on " + NAME, lambda e, v, h: e.vm_runs(v) and e.b.guest_on(v) != [h]),
    (NAME + r" does not run", lambda e, v: not e.b.guest_on(v)),
    (NAME + r" alive on " + NAME, lambda e, v, h: e.b.guest_on(v) == [h]),
    (NAME + r" undisturbed", lambda e, v: e.stayed(v)),
    (NAME + r" is (Live|Lost|Fencing|Fenced)", lambda e, h, s: e.b.incarnation_state(h) == s),
    (NAME + r" ready", lambda e, h: lookup(e.get("hosts", h), "status.conditions[Ready].status") == "True"),
    (NAME + r" is on", lambda e, h: e.b.is_on(h)),
    (NAME + r" is off", lambda e, h: not e.b.is_on(h)),
    (NAME + r" never fenced", lambda e, h: e.newest_fencing(h) is None),
    (NAME + r" fenced", lambda e, h: e.fenced(h)),
    (r"proof of " + NAME + r" is (\w+)", lambda e, h, p: lookup(e.newest_fencing(h), "status.proof") == p),
    (r"fencing of " + NAME + r" says (.+)", lambda e, h, p: bool(re.search(p, words_of(e.newest_fencing(h)), re.I | re.S))),
    (r"no lock of " + NAME, lambda e, h: not any(lookup(x, "status.holder") == h for x in e.items("locks"))),
    (r"no " + NAME + " " + NAME, lambda e, k, n: e.get(plural(k), n) is None),
    (NAME + " " + NAME + r" says (.+)", says),
    (NAME + r" says (.+)", lambda e, n, p: says(e, "host" if n.startswith("node") else "vm", n, p)),
    (NAME + " " + NAME + r" (\S+) (=|!=|~|<|>) (.+)", compare),
]
