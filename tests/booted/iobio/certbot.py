#!/usr/bin/python3
"""Plays certbot in standalone mode: takes the port for as long as /etc/lab/certbot says, answers on it as an ACME
client does, and then renews the certificate, or fails. The file has two words: seconds, and "renew" or "fail"."""
import http.server, os, subprocess, sys, threading, time

assert sys.argv[1:] == ["renew", "--standalone", "--http-01-port", "9001", "--no-random-sleep-on-renew"], sys.argv
live = "/etc/letsencrypt/live/lf-proxy.example.org"


class Challenge(http.server.BaseHTTPRequestHandler):
    server_version, sys_version = "certbot", ""

    def do_GET(self):
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    # The port must be free: two that share it would hide a fibridge that is not gone.
    allow_reuse_port = False


seconds, outcome = open("/etc/lab/certbot").read().split()
server = Server(("0.0.0.0", 9001), Challenge)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("certbot has the port", flush=True)
time.sleep(float(seconds))
if outcome == "fail":
    sys.exit("the authority says no")
subprocess.run([sys.executable, "/etc/lab/certificate", "90"], check=True)
print("the certificate is renewed", flush=True)
