#!/usr/bin/python3
"""Plays fibridge-proxy-rs: its flags, and what it answers with and without a certificate."""
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
    # The handshake is for the thread of the connection: nobody waits for a caller who says nothing.
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=secure.serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer((flags.ip_address, flags.port), Redirect if flags.key else Page).serve_forever()
