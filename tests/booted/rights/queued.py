#!/usr/bin/python3
"""queued.py UNIT COUNT FLOOD...: lets user nobody flood systemd and kills the unit's process meanwhile, COUNT times.

systemd runs its jobs only when no call waits (its run queue has the priority of idle event sources), so that during the
flood nobody's job is run, root's included. Prints for each time after how many milliseconds the job was queued, and how
many after the flood's end another process ran. systemctl, run by root, does not ask the flooded bus."""
import os, signal, subprocess, sys, time

def processes():
    try:
        return [int(pid) for pid in open(f"/sys/fs/cgroup/system.slice/{unit}/cgroup.procs")]
    except OSError:
        return []

def milliseconds_until(what, condition, begin, limit=60):
    while not condition():
        if time.monotonic() > begin + limit:
            sys.exit(f"{unit} is not {what} within {limit} s")
        time.sleep(0.002)
    return round((time.monotonic() - begin) * 1000)

def is_queued():
    jobs = subprocess.run(["systemctl", "list-jobs", "--no-legend", unit], capture_output=True, text=True)
    return unit in jobs.stdout or bool(processes())

unit, count, flood = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
for _ in range(count):
    milliseconds_until("up", processes, time.monotonic())
    flooding = subprocess.Popen(flood, user="nobody", stdout=subprocess.DEVNULL)
    time.sleep(2)
    begin = time.monotonic()
    for pid in processes():
        os.kill(pid, signal.SIGKILL)
    milliseconds_until("down", lambda: not processes(), begin)
    queued = milliseconds_until("queued", is_queued, begin)
    flooding.kill()
    flooding.wait()
    end = time.monotonic()
    print(queued, milliseconds_until("up", processes, end), flush=True)
    time.sleep(1)
