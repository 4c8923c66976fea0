#!/usr/bin/env python3
"""What three picketds keep an eye on: feature levels in a mixed cluster, room, and equal states.

- A member that knows only an older feature level keeps the cluster at it, and states stay equal; the level rises when
  it is upgraded; a member that is set back afterwards refuses to run.
- The quota of raw keys refuses puts with etcd's code, lets reads and deletions through, shows an alarm, and the alarm
  goes off by itself when there is room again.
- A replica whose state differs is found, told so, ends, and does not start again."""

import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402
import picketds  # noqa: E402

CLUSTER = """apiVersion: picket/v1
kind: Cluster
metadata: {name: cluster}
spec: {storage: {quota: 4Mi, rawQuota: 256Ki}}
"""

# Our picketd with a way to change its state behind the log's back (fault_diverge.c).
FAULTY = os.path.join(dev.BIN, "faulty", "picketd")


def agreed_again(c):
    """All replicas were compared at an entry that is newer than now."""
    leader = c.leader()
    at = c.view(leader)["applied"]
    c.put(leader, "agree", str(at))
    c.wait("states compared and equal", lambda: (c.metric(leader, "picket_state_compared_index") or 0) > at)
    dev.check(c.metric(leader, "picket_state_diverged") == 0, "somebody has diverged")


def versions(c):
    return {v["name"]: v["featureLevel"] for v in c.cluster().get("status", {}).get("versions", [])}


def mixed_versions(c):
    c.form(3, lambda h: c.conf(h, "max-feature-level = 1"))
    for host in ("node1", "node2"):
        c.stop(host)
        c.unconf(host, "max-feature-level")
        c.start(host)
        c.wait("%s is back" % host, lambda: c.view(host) and c.view(host).get("leader"))
    c.run("apply", "-f", "-", stdin=CLUSTER)
    c.wait("versions in the status", lambda: versions(c) == {"node1": 2, "node2": 2, "node3": 1})
    dev.check(c.view("node1")["featureLevel"] == 1, "the level rose though node3 does not know it")
    for i in range(20):
        dev.check(c.put("node%d" % (i % 3 + 1), "mixed%d" % i, "x" * 100)[0] == 200, "put in a mixed cluster")
    agreed_again(c)

    c.stop("node3")
    c.unconf("node3", "max-feature-level")
    c.start("node3")
    c.wait("the level rises", lambda: c.view("node1").get("featureLevel") == 2)
    c.wait("it is in the status", lambda: c.cluster().get("status", {}).get("featureLevel") == 2)
    agreed_again(c)

    c.stop("node3")
    c.conf("node3", "max-feature-level = 1")
    c.start("node3")
    c.wait("node3 refuses the level", lambda: c.ended("node3") == 1, 30)
    dev.check("upgrade this picketd" in c.log("node3"), c.log("node3")[-500:])
    del c.procs["node3"]
    c.unconf("node3", "max-feature-level")
    c.start("node3")
    agreed_again(c)


def room(c):
    c.wait("the quota is known", lambda: c.metric("node1", "picket_store_raw_quota_bytes") == 256 * 1024)
    done = 0
    status, got = 200, None
    while status == 200 and done < 100:
        status, got = c.put("node%d" % (done % 3 + 1), "big%d" % done, "x" * 10000)
        done += status == 200
    dev.check(20 < done < 30, "%d puts of 10000 bytes went into 256Ki" % done)
    dev.check(got["code"] == 8 and got["message"] == "etcdserver: mvcc: database space exceeded", "refusal: %s" % got)
    c.wait("the alarm", lambda: "raw-nospace" in c.view("node2").get("alarms", []))
    status, got = c.https("node2", "POST", "/v3/maintenance/alarm", {"action": "GET"})
    dev.check(got["alarms"][0]["alarm"] == "NOSPACE", "alarms: %s" % got)
    c.wait("the condition", lambda: c.condition("Storage").get("reason") == "NoSpace")
    dev.check("NoSpace" in c.run("status", rc=None).stdout, "picket status does not show it")
    # objects still go, reads and deletions too
    c.run("apply", "-f", "-", stdin=CLUSTER.replace("Cluster", "NetworkCheck", 1).replace("name: cluster", "name: n1")
          .replace("storage: {quota: 4Mi, rawQuota: 256Ki}", "targets: [10.0.0.1]"))
    dev.check(c.count("node3", "big") == done, "reads under an alarm")
    for i in range(done):
        status, got = c.https("node1", "POST", "/v3/kv/deleterange", {"key": picketds.b64("big%d" % i)})
        dev.check(status == 200, "deletion under an alarm: %s" % got)
    c.wait("the alarm goes off", lambda: c.view("node2").get("alarms") == [])
    c.wait("the condition", lambda: c.condition("Storage").get("status") == "True")
    dev.check(c.put("node1", "big", "x")[0] == 200, "put after the alarm")
    agreed_again(c)


def disarm(c):
    status, got = c.https("node1", "POST", "/v3/maintenance/alarm", {"action": "ACTIVATE", "alarm": "NOSPACE"})
    dev.check(status == 200, "activate: %s" % got)
    status, got = c.put("node2", "never", "x")
    dev.check(got.get("code") == 8, "put under NOSPACE: %s" % got)
    status, got = c.https("node1", "POST", "/v3/maintenance/alarm", {"action": "DEACTIVATE", "alarm": "NOSPACE"})
    dev.check(status == 200 and "alarms" not in got, "deactivate: %s" % got)


def diverged(c):
    bad = c.followers()[0]
    c.stop(bad)
    c.programs[bad] = FAULTY
    c.start(bad)
    c.wait("%s is back" % bad, lambda: c.view(bad).get("leader"))
    agreed_again(c)
    with open(c.path(bad, "data", "fault-diverge"), "w"):
        pass
    c.wait("%s does something else" % bad, lambda: "told to diverge" in c.log(bad))
    c.put(c.leader(), "after", "x")
    c.wait("%s ends" % bad, lambda: c.ended(bad) == 1, 30)
    c.wait("the condition", lambda: c.condition("ReplicasAgree").get("reason") == "Diverged")
    dev.check(bad in c.condition("ReplicasAgree")["message"], "the condition names %s" % bad)
    dev.check(c.metric(c.leader(), "picket_state_diverged") == 1, "the metric")
    dev.check("DIFFERS" in c.log(c.leader()) and "DIFFERS" in c.log(bad), "no loud log on both sides")
    del c.programs[bad]
    c.start(bad)
    c.wait("%s does not start again" % bad, lambda: c.ended(bad) == 1, 30)
    dev.check("join it anew" in c.log(bad), c.log(bad)[-600:])
    del c.procs[bad]
    c.run("member", "remove", bad)
    c.wait("the condition ends", lambda: c.condition("ReplicasAgree").get("status") == "True")


def test():
    dev.check(os.access(FAULTY, os.X_OK), "%s is missing: make O=%s %s" % (FAULTY, dev.BIN, FAULTY))
    with picketds.Picketds() as c:
        mixed_versions(c)
        room(c)
        disarm(c)
        diverged(c)
        for host in list(c.procs):
            c.stop(host, signal.SIGKILL)


dev.main(test)
