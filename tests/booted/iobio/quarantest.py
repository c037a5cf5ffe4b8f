#!/usr/bin/python3
"""Stands in for quarantest (Go, not in Debian). Like the real one it takes -port, answers 500 where its working directory has no
directory commits, 400 for a host name without a demo, the demo's index.html for one that has one, and exits with 2 at the first
webhook where there is no github_credentials.json. What it does not: a webhook builds no demo (it runs neither git nor docker) and
sends nothing to GitHub."""
import argparse, http.server, json, os

flags = argparse.ArgumentParser()
flags.add_argument("-port", type=int, default=9001)
flags = flags.parse_args()


class Page(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/webhook"):
            return self.answer(400)
        demo = self.headers.get("Host", "").split(".")[0]
        try:
            found = [name for name in os.listdir("commits") if name.startswith(demo)]
        except OSError as error:
            print(error, flush=True)
            return self.answer(500)
        if len(found) != 1:
            return self.answer(400, f"sha '{demo}' did not match any demos".encode())
        self.answer(200, open(f"commits/{found[0]}/build/index.html", "rb").read())

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/webhook"):
            try:
                json.load(open("github_credentials.json"))["token"]
            except OSError as error:
                print(f"panic: {error}", flush=True)
                os._exit(2)
        self.answer(200)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", flags.port), Page).serve_forever()
