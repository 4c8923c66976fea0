#!/usr/bin/env python3
"""Certificates renew themselves, with lives of seconds: two voters and an agent go on for several lives without a
restart, new connections use the new certificates, a member without the CA's key has another one sign, nobody gets
another identity, and a member that was down past its certificate's end comes back."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402
import picketds  # noqa: E402

LIFE = 15


def serial(path):
    return subprocess.run(["openssl", "x509", "-in", path, "-noout", "-serial"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout.strip()


def subject(path):
    return subprocess.run(["openssl", "x509", "-in", path, "-noout", "-subject", "-ext", "subjectAltName"],
                          stdout=subprocess.PIPE, text=True, check=True).stdout


def served(c, host):
    """Serial number of the certificate that the API shows to a new connection."""
    with socket.create_connection((c.ip(host), c.port), 5) as s:
        with c.context().wrap_socket(s) as t:
            pem = ssl.DER_cert_to_PEM_cert(t.getpeercert(True))
    return subprocess.run(["openssl", "x509", "-noout", "-serial"], input=pem, stdout=subprocess.PIPE, text=True,
                          check=True).stdout.strip()


def start_agent(c, host):
    """The agent of a host, with guests as processes; its configuration is what `picket join` wrote."""
    with open(c.path(host, "boot-id"), "w") as f:
        f.write(str(uuid.uuid4()))
    for d in ("dev", "data/agent", "dev/hosts/%s" % host, "dev/san"):
        os.makedirs(c.path(host, d), exist_ok=True)
    with open(c.path(host, "agent.log"), "a") as log:
        return subprocess.Popen([os.path.join(dev.BIN, "picket-agent"), "--config", c.path(host, "etc", "agent.conf"),
                                 "--driver", "dev", "--dev-dir", c.path(host, "dev"), "--boot-id-file",
                                 c.path(host, "boot-id"), "--hardware-id", str(uuid.uuid4())], env=c.env, stdout=log,
                                stderr=log)


def lives_on(c, agent):
    files = {"voter1": c.path("node1", "etc", "tls", "voter.crt"), "voter2": c.path("node2", "etc", "tls", "voter.crt"),
             "agent": c.path("node2", "etc", "tls", "agent.crt")}
    before = {k: (serial(f), subject(f)) for k, f in files.items()}
    seen = {k: {before[k][0]} for k in files}
    end = time.monotonic() + 2.5 * LIFE
    while time.monotonic() < end:
        for k, f in files.items():
            seen[k].add(serial(f))
        dev.check(c.put("node1", "alive", "x")[0] == 200, "a write while certificates change")
        dev.check(agent.poll() is None, "the agent ended")
        time.sleep(1)
    for k, f in files.items():
        dev.check(len(seen[k]) >= 3, "%s was renewed only %d times in 2.5 lives" % (k, len(seen[k]) - 1))
        was, now = before[k][1].strip(), subject(f).strip()
        if k == "agent":
            was = was.split(", IP Address")[0]  # only servers need their addresses
        dev.check(now == was, "%s: %s became %s" % (k, was, now))
    for host in ("node1", "node2"):
        c.wait("%s shows its new certificate" % host,
               lambda: served(c, host) == serial(c.path(host, "etc", "tls", "voter.crt")), 10)
    host = c.https("node1", "GET", "/apis/picket/v1/hosts/node2")[1]
    ready = [x for x in host["status"]["conditions"] if x["type"] == "Ready"][0]
    dev.check(ready["status"] == "True", "the agent's host is not ready: %s" % ready)
    # connections that are made now are made with what is there now
    c.stop("node2", signal.SIGKILL)
    c.start("node2")
    c.wait("node2 is linked again", lambda: c.members().get("node2", {}).get("reachable"))


def identity_stays(c):
    """Whoever asks gets a certificate of his own role and name, whatever he writes into the request."""
    tls = c.path("node2", "etc", "tls")
    csr = subprocess.run(["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", c.path("node2", "k"),
                          "-subj", "/O=picket:admins/CN=admin"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         text=True, check=True).stdout
    ctx = ssl.create_default_context(cafile=tls + "/ca.crt")
    ctx.check_hostname = False
    ctx.load_cert_chain(tls + "/agent.crt", tls + "/agent.key")
    save, c.context = c.context, lambda admin=None: ctx
    status, got = c.https("node1", "POST", "/apis/picket/v1/renew", {"request": csr, "role": "picket:admins"})
    c.context = save
    dev.check(status == 200, "renew: %s %s" % (status, got))
    with open(c.path("node2", "got.crt"), "w") as f:
        f.write(got["cert"])
    text = subject(c.path("node2", "got.crt"))
    dev.check("picket:agents" in text and "CN = node2" in text and "admin" not in text, "an agent got %s" % text)


def users(c):
    out = c.path("node1", "new.conf")
    c.run("renew", "-o", out, "--ca", c.path("node1", "etc", "tls", "ca.crt"))
    env = dict(c.env, PICKETCONFIG=out)
    p = subprocess.run([picketds.PICKET, "member", "list"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, timeout=30)
    dev.check(p.returncode == 0 and "node2" in p.stdout, "with the renewed configuration: %s" % p.stderr)


def test():
    with picketds.Picketds() as c:
        life = ["--cert-lifetime", "%ds" % LIFE]
        c.run("init", *c.args("node1"), *life)
        c.start("node1")
        c.wait("node1 leads", lambda: c.members().get("node1", {}).get("leader"))
        token = c.run("token", "create", "--voter").stdout.strip()
        c.run("join", token, *c.args("node2"), *life)
        # node2 has no key of the CA: node1 signs for it
        os.rename(c.path("node2", "etc", "tls", "ca.key"), c.path("node2", "kept.key"))
        c.start("node2")
        c.wait("node2 votes", lambda: c.members().get("node2", {}).get("role") == "voter")
        agent = start_agent(c, "node2")
        try:
            c.wait("its host is there", lambda: c.https("node1", "GET", "/apis/picket/v1/hosts/node2")[0] == 200)
            lives_on(c, agent)
            identity_stays(c)
            users(c)
        finally:
            agent.kill()
            agent.wait(10)
        # down past the end of its certificate: with the CA's key it signs for itself
        os.rename(c.path("node2", "kept.key"), c.path("node2", "etc", "tls", "ca.key"))
        c.stop("node2", signal.SIGKILL)
        time.sleep(LIFE + 1)
        c.start("node2")
        c.wait("node2 is back after its certificate's end", lambda: c.members().get("node2", {}).get("reachable"))
        for host in list(c.procs):
            c.stop(host, signal.SIGKILL)


dev.main(test)
