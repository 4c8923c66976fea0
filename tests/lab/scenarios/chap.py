"""The target asks for a password and answers with one of its own (mutual CHAP).  Then its password is changed under a guest: one
session after the other learns the new one, and the guest goes on over the other path."""
import world

OLD = "lab-host password-one lab-target password-two"
NEW = "lab-host password-three lab-target password-four"
TITLE = "mutual CHAP, and its password changed under a guest"
SETUP = {"hosts": 1, "storage": "services", "chap": OLD, "guests": (("g1", "PVH"),)}
PORTALS = ("10.77.1.1", "10.77.2.1")


def sessions(w):
    """Portals with a session that is logged in."""
    rc, text = w.rig.sh(1, "iscsiadm -m session", check=False)
    return [p for p in PORTALS if rc == 0 and p in text]


def log_out(w, portal):
    w.rig.sh(1, "iscsiadm -m node -T %s -p %s:3260 -u" % (w.rig.conf["iqn"], portal))


def run(w):
    text = w.rig.sh(1, "iscsiadm -m session -P 2")
    world.check(text.count("username: lab-host") == 2 and text.count("username_in: lab-target") == 2, "not both directions:\n" + text)
    world.check(len(sessions(w)) == 2, "not two sessions:\n" + text)
    w.time.mark("two sessions, each end has proved itself")

    w.rig.power("chap", *NEW.split())
    log_out(w, PORTALS[0])
    w.wait("the old password is refused", lambda: "login" in told(w), 180)
    w.time.mark("the target wants another password; %s" % message(w))
    world.check(sessions(w) == [PORTALS[1]], "sessions: %s" % sessions(w))
    w.still(w.names(), 10, "over one path")
    w.apply(world.chap_secret(NEW))
    w.wait("a session with the new password", lambda: len(sessions(w)) == 2, 180)
    w.time.mark("the Secret has the new one: logged in again")
    log_out(w, PORTALS[1])
    w.wait("both sessions with the new password", lambda: len(sessions(w)) == 2, 180)
    w.wait("both paths", lambda: w.rig.sh(1, "multipath -ll").count("active ready") == 2, 120)
    w.still(w.names(), 10, "new password")
    found = w.rig.sh(1, "grep -lE 'password-(one|two|three|four)' /var/log/picket/* /proc/[0-9]*/cmdline || true").split()
    world.check(not found, "a password is written in %s" % found)


def told(w):
    return str(w.get("lun", "lun1").get("status", {}).get("hosts", {}).get("node1"))


def message(w):
    return w.get("lun", "lun1")["status"]["hosts"]["node1"].get("message")
