"""Two hosts and a witness: without the witness the two go on and decide; without one host the other two do."""
import world

TITLE = "two-host cluster: the witness dies and returns"
SETUP = {}


def run(w):
    w.witness.kill()
    w.witness.wait()
    w.time.mark("the witness is dead")
    ends = "10.77.0.11:7443"
    w.wait("a leader among the hosts", lambda: w.picket("--server", ends, "get", "hosts", check_rc=False).returncode == 0, 120)
    w.time.mark("the hosts decide without it")
    w.start_witness()
    w.wait("the witness answers", lambda: w.picket("get", "hosts", check_rc=False).returncode == 0, 120)
    w.wait_hosts()
    world.check(len(w.voters()) == 1 + w.hosts, "not all vote: %s" % w.voters())
    w.wait_running(*w.names())
