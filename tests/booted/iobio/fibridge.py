#!/usr/bin/python3
"""Stands in for fibridge-proxy-rs (Rust, not in Debian). Like the real one it takes its flags, serves HTML on the HTTP port
without a certificate, and with one answers every path there with a redirect to the TLS port under the public name; stopped
(SIGSTOP), both ports still accept connections. What it does not: no WebSocket, and so no file of anybody is served."""
import argparse, http.server, ssl, threading

flags = argparse.ArgumentParser()
flags.add_argument("--ip-address", required=True)
flags.add_argument("--port", type=int, default=9001)
flags.add_argument("--host")
flags.add_argument("--secure-port", type=int, default=9002)
flags.add_argument("--key")
flags.add_argument("--cert")
flags = flags.parse_args()


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "9")
        self.end_headers()
        self.wfile.write(b"fibridge\n")

    def log_message(self, *_):
        pass


class Redirect(Page):
    def do_GET(self):
        self.send_response(301)
        self.send_header("Location", f"https://{flags.host}:{flags.secure_port}{self.path}")
        self.send_header("Content-Length", "0")
        self.end_headers()


if flags.key:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(flags.cert, flags.key)
    secure = http.server.ThreadingHTTPServer((flags.ip_address, flags.secure_port), Page)
    # Each connection's thread makes its handshake: a client that sends nothing delays no other.
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=secure.serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer((flags.ip_address, flags.port), Redirect if flags.key else Page).serve_forever()
