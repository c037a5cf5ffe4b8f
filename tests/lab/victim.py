#!/usr/bin/python3
"""A web server that fails on command: what the tests guard.

    victim.py PORT DIRECTORY

answers 200 "well" on 127.0.0.1:PORT, on every path, for as long as DIRECTORY holds no fault.
A fault is a file there:

    500           answers 500; with a number in the file, that status
    body          answers 200, with the file's content as the body
    slow          answers after as many seconds as the file says (default 5)
    hang          accepts and reads the request, never answers
    close-port    closes the port and lives on
    burn          uses all of one CPU
    fail-start    ends with status 1 at its next start (a running one goes on)
    slow-start    takes as many seconds to be ready as the file says (default 5)

It goes when the file goes, so a restart does not heal it. Of a fault named NAME-once the server
removes the file when it sees it, and has the fault until it ends: a restart heals it.

Faults are looked at on every request and every 20 ms. It says READY to systemd once the port is open,
so that Type=notify makes a start job's end mean "it serves".
"""

import http.server
import os
import pathlib
import socket
import socketserver
import sys
import threading
import time

PORT = int(sys.argv[1])
FAULTS = pathlib.Path(sys.argv[2])
FOR_LIFE = {}
LOCK = threading.Lock()


def fault(name):
    """The text of the fault's file, or None where the fault is not there."""
    with LOCK:
        once = FAULTS / (name + "-once")
        try:
            FOR_LIFE[name] = once.read_text().strip()
            once.unlink()
        except FileNotFoundError:
            pass
        if name in FOR_LIFE:
            return FOR_LIFE[name]
    try:
        return (FAULTS / name).read_text().strip()
    except FileNotFoundError:
        return None


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = 200, "well\n"
        if fault("hang") is not None:
            while fault("hang") is not None:
                time.sleep(0.05)
            return
        if (seconds := fault("slow")) is not None:
            time.sleep(float(seconds or 5))
        if (text := fault("body")) is not None:
            body = text
        if (code := fault("500")) is not None:
            status, body = int(code or 500), "a fault\n"
        data = body.encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # whoever asked did not wait

    do_HEAD = do_POST = do_GET

    def log_message(self, format, *args):
        print("%s %s" % (self.client_address[0], format % args), flush=True)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


def listen():
    server = Server(("127.0.0.1", PORT), Answer)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def ready():
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", address.replace("@", "\0", 1))


def main():
    FAULTS.mkdir(parents=True, exist_ok=True)
    if fault("fail-start") is not None:
        sys.exit("victim: told to fail at its start")
    if (seconds := fault("slow-start")) is not None:
        time.sleep(float(seconds or 5))
    server = listen()
    ready()
    while True:
        closed = fault("close-port") is not None
        if closed and server:
            server.shutdown()
            server.server_close()
            server = None
        elif not closed and not server:
            server = listen()
        until = time.monotonic() + 0.02
        if fault("burn") is not None:
            while time.monotonic() < until:
                pass
        else:
            time.sleep(0.02)


main()
