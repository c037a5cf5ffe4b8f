"""Plays Phenolyzer: any path is answered with 200 at once, and /phenolyzer?term=... does the work by spawning.
`GET /wedge` wedges it: from then on queries hang, and everything else is answered as ever."""
import http.server, subprocess, time

wedged = False


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global wedged
        body = b"ok\n"
        if self.path == "/wedge":
            wedged = True
        elif self.path.startswith("/phenolyzer?term="):
            if wedged:
                subprocess.run(["sleep", "3600"])
            body = subprocess.run(["echo", "LDHA\t1.0"], capture_output=True).stdout
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", 9001), Page).serve_forever()
