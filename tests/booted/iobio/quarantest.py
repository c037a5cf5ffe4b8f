#!/usr/bin/python3
"""Plays quarantest: a host name without a demo is answered with 400; with 500 while /etc/lab/broken is there."""
import http.server, os, sys

assert sys.argv[1:] == ["-port", "9001"], sys.argv


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(500 if os.path.exists("/etc/lab/broken") else 400)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", 9001), Page).serve_forever()
