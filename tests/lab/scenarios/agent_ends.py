"""Programs of Picket die, are stopped, and are replaced under running guests: no guest notices."""
TITLE = "agent, picketd and watchdog killed, and upgraded, under running guests"
SETUP = {}


def domid(w, vm):
    return w.on(vm, "xl domid %s" % vm).strip()


def adopted(w, vm, host, old_pid, what):
    """A new agent runs, and knows the guest for what it is."""
    def new_agent():
        rc, pid = w.rig.sh(host, "svc pid picket-agent", check=False)
        return rc == 0 and pid.strip() not in ("", old_pid)
    w.wait("a new agent on node%d" % host, new_agent, 60)
    w.wait("node%d runs again" % host,
           lambda: "phase=Running" in w.rig.sh(host, "tac /var/log/picket/picket-agent.log | grep -m 1 phase= || true"), 180)
    w.still([vm], 20, what)


def run(w):
    vm = w.names()[0]
    name = w.host_of(vm)
    host = int(name[-1])
    inc = w.incarnation(name)
    dom = domid(w, vm)
    old = w.rig.sh(host, "svc pid picket-agent").strip()
    w.rig.sh(host, "svc kill picket-agent")
    adopted(w, vm, host, old, "agent killed")
    w.rig.sh(host, "svc kill picketd; svc kill picket-watchdog")
    w.still([vm], 20, "picketd and watchdog killed")

    # The upgrade: new files, then one program after the other is stopped and started.
    w.rig.share()
    old = w.rig.sh(host, "svc pid picket-agent").strip()
    w.rig.sh(host, """cd /mnt/share/bin
        for f in *; do cp $f /opt/picket/.$f && mv /opt/picket/.$f /opt/picket/$f; done
        for s in picket-watchdog picketd picket-agent; do svc stop $s && svc start $s; done""")
    adopted(w, vm, host, old, "upgraded")
    if domid(w, vm) != dom:
        raise AssertionError("domain %s became %s" % (dom, domid(w, vm)))
    now = w.incarnation(name)
    if now != inc:
        raise AssertionError("incarnation %s became %s: the host counts as rebooted" % (inc, now))
