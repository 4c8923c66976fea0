#!/usr/bin/env python3
"""Rights: what a certificate without a role of its own may do, by Roles and RoleBindings, and what nobody gets by them."""

import base64
import os
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as dev  # noqa: E402

VM = """
apiVersion: picket/v1
kind: VirtualMachine
metadata: {name: %s}
spec: {memory: %s, runPolicy: Stopped}
"""

ROLES = """
apiVersion: picket/v1
kind: Role
metadata: {name: web-crew}
spec:
  rules:
  - {verbs: [get, list, watch], resources: [virtualmachines, hosts]}
  - {verbs: [patch], resources: [virtualmachines], resourceNames: [web]}
  - {verbs: [get], resources: [virtualmachines/console], resourceNames: [web]}
---
apiVersion: picket/v1
kind: RoleBinding
metadata: {name: web-crew}
spec: {role: web-crew, subjects: [{kind: Group, name: web-crew}]}
---
apiVersion: picket/v1
kind: Role
metadata: {name: everything}
spec: {rules: [{verbs: ["*"], resources: ["*"]}]}
---
apiVersion: picket/v1
kind: RoleBinding
metadata: {name: machines}
spec:
  role: everything
  subjects: [{kind: Group, name: "picket:agents"}, {kind: User, name: node1}]
"""


def sh(*argv):
    p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    dev.check(p.returncode == 0, "%s: %s" % (argv, p.stdout))
    return p.stdout


def person(c, group, name):
    """A certificate signed by the cluster's CA, and a configuration with it; its path."""
    pki = os.path.join(c.dir, "pki")
    key, csr, crt, ext, conf = (os.path.join(c.dir, name + s) for s in (".key", ".csr", ".crt", ".ext", ".conf"))
    uri = re.search(r"URI:(picket:[^\s,]+)", sh("openssl", "x509", "-in", os.path.join(pki, "admin.crt"), "-noout", "-ext",
                                            "subjectAltName")).group(1)
    with open(ext, "w") as f:
        f.write("subjectAltName=URI:%s\nextendedKeyUsage=clientAuth\n" % uri)
    sh("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-subj",
       "/O=%s/CN=%s" % (group, name), "-out", csr)
    sh("openssl", "x509", "-req", "-in", csr, "-CA", os.path.join(pki, "ca.crt"), "-CAkey", os.path.join(pki, "ca.key"),
       "-days", "1", "-extfile", ext, "-out", crt)
    with open(os.path.join(c.dir, "kubeconfig")) as f:
        text = f.read()
    for field, path in (("client-certificate", crt), ("client-key", key)):
        with open(path, "rb") as f:
            data = base64.b64encode(f.read()).decode()
        text, n = re.subn(r"%s(-data)?: .*" % field, "%s-data: %s" % (field, data), text)
        dev.check(n == 1, "no %s in the configuration" % field)
    with open(conf, "w") as f:
        f.write(text)
    os.chmod(conf, 0o600)
    return conf


def run(c, conf, *args, stdin=None):
    return c.run(*args, "--kubeconfig", conf, stdin=stdin, check_rc=False)


def expect(c, conf, ok, *args, stdin=None, say=""):
    p = run(c, conf, *args, stdin=stdin)
    dev.check((p.returncode == 0) == ok and say in p.stdout + p.stderr,
              "%s: exit %d: %s%s" % (" ".join(args), p.returncode, p.stdout, p.stderr))


def can(c, conf, yes, *args):
    p = run(c, conf, "auth", "can-i", *args)
    dev.check(p.returncode == (0 if yes else 1) and p.stdout.startswith("yes" if yes else "no"),
              "can-i %s: exit %d: %s%s" % (" ".join(args), p.returncode, p.stdout, p.stderr))


def as_agent(c, path, data=None):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    ctx.load_cert_chain(os.path.join(c.dir, "pki", "node1-agent.crt"), os.path.join(c.dir, "pki", "node1-agent.key"))
    with open(os.path.join(c.dir, "kubeconfig")) as f:
        server = re.search(r"server: (https://\S+)", f.read()).group(1).strip('"')
    try:
        return urllib.request.urlopen(server + path, data=data, context=ctx, timeout=20).status
    except urllib.error.HTTPError as e:
        return e.code


def test():
    with dev.Cluster(1) as c:
        c.wait_hosts()
        for name in ("web", "db"):
            c.apply(VM % (name, "64Mi"))
        ann = person(c, "web-crew", "ann")
        eve = person(c, "picket:viewers", "eve")
        dev.check('web-crew "ann"' in run(c, ann, "auth", "whoami").stdout, "whoami")
        expect(c, ann, False, "get", "vm", say="may not read virtualmachines")
        can(c, ann, False, "get", "vm")

        c.apply(ROLES)
        c.wait("ann has her role", lambda: run(c, ann, "get", "vm").returncode == 0, 10)
        expect(c, ann, True, "get", "vm,hosts", say="web")
        expect(c, ann, False, "get", "volumes", say="may not")
        expect(c, ann, True, "apply", "-f", "-", stdin=VM % ("web", "96Mi"))
        dev.check(c.get("vm", "web")["spec"]["memory"] == "96Mi", "web was not changed")
        expect(c, ann, False, "apply", "-f", "-", stdin=VM % ("db", "96Mi"), say="may not")
        expect(c, ann, False, "apply", "-f", "-", stdin=VM % ("new", "96Mi"), say="may not")
        dev.check(c.get("vm", "new") is None and c.get("vm", "db")["spec"]["memory"] == "64Mi", "too much was written")
        expect(c, ann, False, "delete", "vm", "web", say="may not")
        expect(c, ann, False, "console", "web", say="does not run")  # she may, but there is none
        expect(c, ann, False, "console", "db", say="may not use the console of db")
        expect(c, ann, False, "apply", "-f", "-", stdin=ROLES.replace("web-crew]", "x]"), say="may not")
        expect(c, ann, False, "fence", "node1", "--reason", "x", "--yes", say="may not fence")
        for yes, args in ((True, ("patch", "vm", "web")), (False, ("patch", "vm", "db")), (False, ("patch", "vm")),
                          (True, ("list", "vm")), (True, ("get", "vm/console", "web")), (False, ("get", "vm/console", "db")),
                          (False, ("fence", "host", "node1")), (False, ("*", "*"))):
            can(c, ann, yes, *args)
        can(c, eve, True, "list", "volumes")
        can(c, eve, False, "get", "secrets")
        can(c, os.path.join(c.dir, "kubeconfig"), True, "*", "*")

        # a binding that names a machine gives it nothing
        dev.check(as_agent(c, "/apis/picket/v1/secrets") == 403, "an agent reads secrets by a binding")

        # a right to fence makes an operator of her there, and ends with its binding
        c.apply(ROLES.split("---")[0].replace("rules:", "rules:\n  - {verbs: [fence, confirm], resources: [hosts]}"))
        c.wait("ann may fence", lambda: run(c, ann, "auth", "can-i", "fence", "host", "node1").returncode == 0, 10)
        p = run(c, ann, "confirm-off", "node1", "--incarnation", "999", "--statement", "node1: off", "--yes")
        dev.check(p.returncode != 0 and "may not" not in p.stderr, "confirm-off: %d %s" % (p.returncode, p.stderr))
        c.run("delete", "rolebinding", "web-crew")
        c.wait("ann has nothing again", lambda: run(c, ann, "get", "vm").returncode != 0, 10)

        for junk in (b"", b"{}", b"k8s\0", b"k8s\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"[" * 1000):
            code = as_agent(c, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", junk)
            dev.check(code == 400, "a review of %r: HTTP %d" % (junk[:20], code))


if __name__ == "__main__":
    dev.main(test)
