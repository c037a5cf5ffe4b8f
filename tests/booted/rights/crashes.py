#!/usr/bin/python3
"""crashes.py UNIT COUNT PAUSE: kills the unit's process COUNT times; prints after how many milliseconds another one ran.

It reads the unit's cgroup and asks nobody: the bus may be flooded. PAUSE seconds lie between a new process and its end."""
import os, signal, sys, time

def processes():
    try:
        return [int(pid) for pid in open(f"/sys/fs/cgroup/system.slice/{unit}/cgroup.procs")]
    except OSError:
        return []

def wait_for_process(deadline):
    while not processes():
        if time.monotonic() > deadline:
            sys.exit(f"{unit} is down for a minute")
        time.sleep(0.001)

unit, count, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
for _ in range(count):
    wait_for_process(time.monotonic() + 60)
    time.sleep(pause)
    begin = time.monotonic()
    for pid in processes():
        os.kill(pid, signal.SIGKILL)
    while processes():
        time.sleep(0.0005)
    wait_for_process(begin + 60)
    print(round((time.monotonic() - begin) * 1000), flush=True)
