#!/usr/bin/python3
"""flood.py WHAT CONNECTIONS WINDOW SECONDS: method calls of one user, WINDOW of each connection under way at a time.

Written out byte by byte: the libraries have limits of their own. With a WINDOW of 0 each connection makes
a thousand calls and reads no answer. (More would be a flood of the bus itself, whoever is called.) Signals
go to all connections of the daemon, also those that have no name."""
import os, select, socket, struct, subprocess, sys, time

def text(s): return struct.pack("<I", len(s)) + s.encode() + b"\0"
def sig(s): return bytes([len(s)]) + s.encode() + b"\0"
def pad(b, n): return b + b"\0" * (-len(b) % n)

def call(serial, to, path, interface, member, signature="", body=b"", kind=1):
    fields = b""
    for code, form, value in [(1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", to)]:
        fields = pad(fields, 8) + bytes([code]) + sig(form)
        fields = pad(fields, 4) + text(value)
    if signature:
        fields = pad(fields, 8) + bytes([8]) + sig("g") + sig(signature)
    head = struct.pack("<cBBBII", b"l", kind, 0, 1, len(body), serial) + struct.pack("<I", len(fields)) + fields
    return pad(head, 8) + body

OURS = ("io.iobio.Stealthcheck1", "/io/iobio/Stealthcheck1", "io.iobio.Stealthcheck1.Manager")
SYSTEMD = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
listed = subprocess.run(["busctl", "list", "--no-legend"], capture_output=True, text=True, check=True).stdout
DAEMON = [line.split()[0] for line in listed.splitlines() if line[0] == ":" and " stealthcheck " in line]
POLKIT = ("org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.PolicyKit1.Authority")
def may(own):
    """The body of CheckAuthorization about a caller itself, with an action whose rules are evaluated."""
    name = pad(text("name") + sig("s"), 4) + text(own)
    body = pad(pad(text("system-bus-name"), 4) + struct.pack("<I", len(name)), 8) + name
    body = pad(pad(body, 4) + text("org.freedesktop.systemd1.manage-units"), 4) + struct.pack("<I", 0)
    return pad(body, 8) + struct.pack("<I", 0) + text("")
WHAT = {
    "rows": lambda n, own: call(n, *OURS, "ListChecks"),
    "page": lambda n, own: call(n, *OURS, "DescribeChecks", "su", pad(text(""), 4) + struct.pack("<I", 100)),
    "why": lambda n, own: call(n, *OURS, "ExplainCheck", "s", text("web")),
    "pause": lambda n, own: call(n, *OURS, "PauseCheck", "st", pad(text("web"), 8) + struct.pack("<Q", 60)),
    "tree": lambda n, own: call(n, OURS[0], OURS[1] + "/check", "org.freedesktop.DBus.Introspectable", "Introspect"),
    "long": lambda n, own: call(n, *OURS, "ExplainCheck", "s", text("x" * (16 << 20))),
    "signal": lambda n, own: call(n, DAEMON[n % len(DAEMON)], *OURS[1:], "Signal", "s", text("x" * (16 << 20)), kind=4),
    "polkit": lambda n, own: call(n, *POLKIT, "CheckAuthorization", "(sa{sv})sa{ss}us", may(own)),
    "restart": lambda n, own: call(n, *SYSTEMD, "RestartUnit", "ss", pad(text("web.service"), 4) + text("replace")),
}

class Connection:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect("/run/dbus/system_bus_socket")
        self.socket.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        assert self.socket.recv(1000).startswith(b"OK"), "not let in"
        bus = "org.freedesktop.DBus"
        self.socket.sendall(b"BEGIN\r\n" + call(1, bus, "/org/freedesktop/DBus", bus, "Hello"))
        hello = self.socket.recv(4096)
        self.name = hello[hello.find(b":1."):].split(b"\0")[0].decode()
        self.socket.setblocking(False)
        self.out, self.into, self.serial, self.under_way = b"", b"", 1, 0

    def answers(self):
        """Takes what has arrived; counts whole messages that answer a call."""
        self.into += self.socket.recv(1 << 20)
        n = 0
        while len(self.into) >= 16:
            body, fields = struct.unpack_from("<I", self.into, 4)[0], struct.unpack_from("<I", self.into, 12)[0]
            length = 16 + fields + (-fields % 8) + body
            if len(self.into) < length:
                break
            n += self.into[1] in (2, 3)
            self.into = self.into[length:]
        self.under_way -= n
        return n

what, connections, window, seconds = sys.argv[1], *map(int, sys.argv[2:5])
all_of_them = [Connection() for _ in range(connections)]
open("/tmp/flood.begun", "w").close()
end, sent, answered = time.time() + seconds, 0, 0
while time.time() < end and all_of_them:
    wants = [one for one in all_of_them if one.out or one.under_way < (window or 1000)]
    readable, writable, _ = select.select(
        [one.socket for one in all_of_them] if window else [], [one.socket for one in wants], [], 0.05)
    for one in list(all_of_them):
        try:
            if one.socket in readable:
                answered += one.answers()
            if one.socket in writable:
                while one.under_way < (window or 1000) and len(one.out) < 65536:
                    one.serial += 1
                    one.under_way += 1
                    sent += 1
                    one.out += WHAT[what](one.serial, one.name)
                one.out = one.out[one.socket.send(one.out):]
        except BlockingIOError:
            pass
        except OSError:
            all_of_them.remove(one)
print(what, "sent", sent, "answered", answered, "connections left", len(all_of_them))
