#!/usr/bin/python3
"""Kills stealthcheck again and again while services fail and heal, all by chance from a seed.

    killer.py SEED KILLS VICTIM...

Prints what it does, with moments. Now and then nothing fails and nobody kills for so long that most incidents close: a
daemon that has just begun sees first whether a check still passes. At its end all faults are taken away, but for that of
the victim named `stubborn`, which is broken all the while and for which a restart does not help: it heals last.
"""

import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

SEED, KILLS, VICTIMS = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
PROCESSES = pathlib.Path("/sys/fs/cgroup/system.slice/stealthcheck.service/cgroup.procs")
OVER = threading.Event()
LULL = threading.Event()
LULLS = 5
# Of one victim. More than six incidents within an hour are flapping, which closes only after ten minutes.
FAULTS = 5


def say(text):
    print("%.3f %s" % (time.clock_gettime(time.CLOCK_MONOTONIC), text), flush=True)


def daemon():
    """The daemon's process, where it has one: what prepares its start is not it."""
    try:
        for pid in PROCESSES.read_text().split():
            if pathlib.Path("/proc/%s/comm" % pid).read_text() == "stealthcheck\n":
                return int(pid)
    except OSError:
        pass  # it, or its cgroup, has gone meanwhile
    return None


def torment(name, chance):
    """One victim: fails in some way, heals or is healed, is well for a while."""
    place = pathlib.Path("/run/victim") / name
    faults = 0
    while faults < FAULTS and not OVER.wait(chance.uniform(8, 40)):
        if LULL.is_set():
            continue
        faults += 1
        fault = chance.choice(["500-once", "hang-once", "kill", "500"])
        say("%s: %s" % (name, fault))
        if fault == "kill":
            subprocess.run(["systemctl", "kill", "-s", "KILL", name])
            continue
        (place / fault).write_text("")
        if fault == "500":
            OVER.wait(chance.uniform(2, 5))
            (place / fault).unlink(missing_ok=True)
        OVER.wait(8)


def main():
    chance = random.Random(SEED)
    for name in VICTIMS:
        if name != "stubborn":
            # As daemons: where this one fails, they end with it.
            args = (name, random.Random(chance.random()))
            threading.Thread(target=torment, args=args, daemon=True).start()
    last, killed = None, 0
    while killed < KILLS:
        pid = daemon()
        if pid is None or pid == last:
            time.sleep(0.002)
            continue
        # Most die in their first moments; some live long enough to get something done.
        time.sleep(chance.uniform(0, 0.25) if chance.random() < 0.75 else chance.uniform(0.25, 1.2))
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            say("%d was gone" % pid)
        last, killed = pid, killed + 1
        if killed % (KILLS // (LULLS + 1)) == 0 and killed < KILLS:
            say("%d kills: a lull" % killed)
            LULL.set()
            time.sleep(chance.uniform(14, 24))
            LULL.clear()
    OVER.set()
    say("%d kills" % killed)


main()
