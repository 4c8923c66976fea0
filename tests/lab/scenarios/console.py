"""`picket console` on the serial console of real guests: what they print, what a person types, and ^] lets them be."""
import os
import pty
import select
import subprocess
import time

import world

TITLE = "picket console: the guest's output, a command typed, detached with ^]"
SETUP = {}


class Person:
    def __init__(self, w, vm):
        self.w, self.seen = w, b""
        self.master, slave = pty.openpty()
        env = dict(os.environ, PICKET_CONFIG=w.rig.path("witness/etc/admin.conf"))
        self.p = subprocess.Popen([w.rig.path("share/bin/picket"), "console", vm], stdin=slave, stdout=slave, stderr=slave,
                                  env=env, start_new_session=True)
        os.close(slave)

    def until(self, what, seconds):
        end = time.monotonic() + seconds * self.w.slow
        while what not in self.seen:
            world.check(time.monotonic() < end, "not on the console within %d s: %r; there was: %r" % (seconds, what, self.seen[-600:]))
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.master, 4096)
                except OSError:  # the program has ended
                    world.check(what in self.seen, "the console ended: %r" % self.seen[-600:])

    def type(self, text):
        os.write(self.master, text)

    def leave(self):
        self.type(b"\x1d")
        rc = self.p.wait(30 * self.w.slow)
        os.close(self.master)
        return rc


def run(w):
    for vm in w.names():
        inst = w.instance(vm)
        person = Person(w, vm)
        person.until(b"HB ", 60)
        w.time.mark("%s: its heartbeat is on the console" % vm)
        person.type(b"echo sum $((40 + 2))\n")
        person.until(b"sum 42", 60)
        w.time.mark("%s: a command was typed and answered" % vm)
        rc = person.leave()
        world.check(rc == 0, "picket console ended with %d" % rc)
        world.check(w.instance(vm) == inst, "it was started anew")
    w.still(w.names(), 5, "after the consoles")
