#!/usr/bin/env python3
"""Fencing as its operator meets it: no device at all, a confirmation, one that is contradicted, action Reboot, lease
terms that follow the Cluster object, and hand-made requests that try to steal a lock."""

import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

BOOK = os.path.join(dev.ROOT, "examples", "book-cluster.yaml")


def book(**replace):
    text = open(BOOK).read()
    for old, new in replace.items():
        assert old in text
        text = text.replace(old, new)
    return text.replace("startupGrace: 20s", "startupGrace: 1s").replace("maxPerWindow: 2", "maxPerWindow: 20")


def manual(c):
    """Only a person can say that the host is off, and not while it lives."""
    text = book().replace("- devices: [rack1-pdu]", "- devices: [by-hand]").replace(
        "- devices: [node1-drac]                    # level 1\n", "")
    text += "---\napiVersion: picket/v1\nkind: FenceDevice\nmetadata: {name: by-hand}\nspec: {type: Manual}\n"
    c.apply(text)
    c.wait_hosts()
    c.wait_running("vm1", "vm2")
    host = c.host_of("vm1")
    inc = c.get("host", host)["status"]["incarnation"]
    p = c.run("confirm-off", host, "--incarnation", str(inc), "--yes", check_rc=False)
    dev.check(p.returncode != 0, "a living host was confirmed as off: " + p.stdout)
    dev.check(c.phase("vm1") == "Running" and c.host_of("vm1") == host, "vm1 moved")
    c.dev("power", host, "off")
    c.wait("%s waits for a person" % host,
           lambda: "confirm-off" in c.condition("host", host, "Ready").get("message", ""), 30)
    dev.check(c.phase("vm1") == "Unknown", "vm1 is %s" % c.phase("vm1"))
    p = c.run("confirm-off", host, "--incarnation", str(inc + 77), "--yes", check_rc=False)
    dev.check(p.returncode != 0, "a wrong incarnation was accepted")
    c.run("confirm-off", host, "--incarnation", str(inc), "--yes")
    c.wait("vm1 runs elsewhere", lambda: c.phase("vm1") == "Running" and c.host_of("vm1") != host, 30)
    dev.check(any(f["status"]["proof"] == "Confirmation" for f in c.items("fencings")), "no Confirmation proof")
    c.dev("power", host, "on")
    c.wait_hosts()


def reboot(c):
    """action: Reboot switches the host on again, and it comes back by itself."""
    c.apply(book().replace("action: Off", "action: Reboot"))
    c.wait_running("vm1", "vm2")
    c.wait("the devices answer",
           lambda: all(c.condition("host", h, "FencingReady").get("status") == "True"
                       for h in ("node1", "node2", "node3")), 40)
    host = c.host_of("vm1")
    old = c.get("host", host)["status"]["incarnation"]
    c.dev("cut", host)
    c.wait("vm1 runs elsewhere", lambda: c.phase("vm1") == "Running" and c.host_of("vm1") not in ("", host), 60)
    c.dev("heal", host)
    c.wait_hosts(seconds=60)
    dev.check(c.get("host", host)["status"]["incarnation"] > old, "the same incarnation is back")


def terms(c):
    """A longer hostTimeout reaches the agents, and the store records it as the loosest before they hear of it.
    It is longer than the longest deadline that the armed watchdogs take, and still nobody is reset."""
    before = {h["metadata"]["name"]: h["status"]["incarnation"] for h in c.items("hosts")}
    c.apply(book().replace("hostTimeout: 3s", "hostTimeout: 20s"))
    c.wait("all hosts have a lease of 20 s",
           lambda: all(h["status"].get("lease", {}).get("leaseMs") == 20000 for h in c.items("hosts")), 20)
    time.sleep(16)
    c.wait_running("vm1", "vm2")
    after = {h["metadata"]["name"]: h["status"]["incarnation"] for h in c.items("hosts")}
    dev.check(before == after, "hosts were reset: %s, before %s" % (after, before))


def curl(c, who, path, body):
    pki = os.path.join(c.dir, "pki")
    conf = json.loads(c.run("get", "cluster", "cluster", "-o", "json").stdout)["status"]
    server = [s for s in open(os.path.join(c.dir, "kubeconfig")).read().split() if s.startswith("https://")][0]
    host, port = server.replace("https://", "").strip('",').split(",")[0].rsplit(":", 1)
    node = "node%s" % host.split(".")[-1]
    p = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", "--cacert", pki + "/ca.crt", "--cert",
                        "%s/%s.crt" % (pki, who), "--key", "%s/%s.key" % (pki, who), "--resolve",
                        "%s:%s:%s" % (node, port, host), "-X", "POST", "https://%s:%s%s" % (node, port, path), "-d",
                        json.dumps(body)], stdout=subprocess.PIPE, text=True, timeout=30)
    text, code = p.stdout.rsplit("\n", 1)
    return int(code), text, conf


def thieves(c):
    """An agent with a good certificate cannot take what another host holds, nor speak for it."""
    owner = c.host_of("vm1")
    thief = [h for h in ("node1", "node2", "node3") if h != owner][0]
    vm = c.get("vm", "vm1")
    epoch = 1
    ref = {"lock": "virtualmachines/vm1", "uid": vm["metadata"]["uid"]}
    mine = c.get("host", thief)["status"]["incarnation"]
    his = c.get("host", owner)["status"]["incarnation"]
    token = vm["status"]["token"]
    tries = [
        (thief, thief, "acquire", {"incarnation": mine, "epoch": epoch, "locks": [ref]}),
        (thief, thief, "acquire", {"incarnation": his, "epoch": epoch, "locks": [ref]}),
        (thief, owner, "acquire", {"incarnation": his, "epoch": epoch, "locks": [ref]}),
        (thief, thief, "release", {"incarnation": mine, "epoch": epoch, "locks": [dict(ref, token=token)]}),
        (thief, owner, "release", {"incarnation": his, "epoch": epoch, "locks": [dict(ref, token=token)]}),
        (thief, owner, "fence", {"reason": "mine"}),
        (thief, owner, "confirm-off", {"incarnation": his, "statement": "surely"}),
    ]
    for who, host, op, body in tries:
        code, text, _ = curl(c, who + "-agent", "/apis/picket/v1/hosts/%s/%s" % (host, op), body)
        dev.check(code in (403, 409, 422), "%s on %s by %s: %d %s" % (op, host, who, code, text))
    # A fence that is repeated after its host has started anew must not hit that one.
    code, text, _ = curl(c, "admin", "/apis/picket/v1/hosts/%s/fence" % owner, {"reason": "late", "incarnation": his - 1})
    dev.check(code == 409 and "incarnation %d, not %d" % (his, his - 1) in text, "fence of another boot: %d %s" % (code, text))
    dev.check(c.get("vm", "vm1")["status"]["token"] == token, "the lock changed hands")


def sets(c):
    """Locks of several machines in one request: each set is judged by itself, whatever becomes of the others."""
    owner = c.host_of("vm1")
    host = [h for h in ("node1", "node2", "node3") if h != owner][0]
    path = "/apis/picket/v1/hosts/%s/" % host
    who = {"incarnation": c.get("host", host)["status"]["incarnation"], "epoch": 1}
    his = {"lock": "virtualmachines/vm1", "uid": c.get("vm", "vm1")["metadata"]["uid"]}
    free = {"lock": "files/a", "uid": "a"}
    code, text, _ = curl(c, host + "-agent", path + "acquire", dict(
        who, sets=[{"reason": "a file", "locks": [free]}, {"reason": "a thief", "locks": [{"lock": "files/b", "uid": "b"}, his]},
                   {"reason": "nothing", "locks": []}]))
    answers = json.loads(text).get("sets", [])
    dev.check(code == 200 and len(answers) == 3, "%d %s" % (code, text))
    dev.check(len(answers[0].get("tokens", [])) == 1, text)
    dev.check(answers[1]["error"] == "ERR_CONFLICT" and owner in answers[1]["message"], text)
    dev.check(answers[2]["error"] == "ERR_INVALID", text)
    held = {x["status"]["object"]: x["status"] for x in c.items("locks")}
    dev.check(held["files/a"]["holder"] == host and "files/b" not in held, "a refused set took a lock: %s" % held)
    dev.check(held["virtualmachines/vm1"]["holder"] == owner, "the lock changed hands")
    give = {"lock": "files/a", "token": answers[0]["tokens"][0]}
    code, text, _ = curl(c, host + "-agent", path + "release",
                         dict(who, sets=[{"locks": [dict(give, token=1)]}, {"locks": [give]}]))
    answers = json.loads(text).get("sets", [])
    dev.check(code == 200 and answers[0].get("error") == "ERR_STALE" and "error" not in answers[1], text)
    for bad in ([], "x", {}):
        code, text, _ = curl(c, host + "-agent", path + "acquire", dict(who, sets=bad))
        dev.check(code == 422, "%s: %d %s" % (bad, code, text))


def test():
    with dev.Cluster(3) as c:
        c.wait("a quorum", lambda: c.run("get", "clusters", check_rc=False).returncode == 0, 30)
        manual(c)
        reboot(c)
        terms(c)
        thieves(c)
        sets(c)
        c.check_single_writer()


dev.main(test)
