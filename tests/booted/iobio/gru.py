"""Plays a gru worker: what `GET /` says, and requests that leave a process behind that spins for ever.

/opt/gru/fault: "cursed": it has such a process from its start; "crash": it ends as soon as it has started."""
import http.server, json, os, subprocess, sys, threading

assert sys.argv[1:] == ["--port=9001"], sys.argv
try:
    fault = open("/opt/gru/fault").read().strip()
except FileNotFoundError:
    fault = ""


def renegade():
    # In a session of its own: whoever looks for children of the server does not find it; its cgroup has it.
    subprocess.Popen(["sh", "-c", "while :; do :; done"], start_new_session=True)


class Worker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/renegade":
            renegade()
        body = json.dumps({"service_description": "iobio backend", "version": "1.11.0", "data_version": "1.5.0"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if fault == "crash":
    sys.exit("Error: Cannot find module './data'")
if fault == "cursed":
    renegade()
http.server.ThreadingHTTPServer(("0.0.0.0", 9001), Worker).serve_forever()
