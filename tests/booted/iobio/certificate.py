"""certificate DAYS: puts a certificate of the lab's authority, valid for that long, where certbot puts them."""
import os, subprocess, sys

live = "/etc/letsencrypt/live/lf-proxy.example.org"
os.makedirs(live, mode=0o700, exist_ok=True)
os.chdir(live)
openssl = lambda *words: subprocess.run(["openssl", *words], check=True, stderr=subprocess.DEVNULL)
openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lf-proxy.example.org", "-keyout", "privkey.new", "-out", "csr.pem")
with open("ext", "w") as ext:
    ext.write("subjectAltName=DNS:lf-proxy.example.org\nbasicConstraints=CA:FALSE\n")
openssl("x509", "-req", "-in", "csr.pem", "-CA", "/etc/lab/ca.crt", "-CAkey", "/etc/lab/ca.key",
        "-set_serial", str(int.from_bytes(os.urandom(8))), "-days", sys.argv[1], "-extfile", "ext", "-out", "fullchain.new")
os.rename("privkey.new", "privkey.pem")
os.rename("fullchain.new", "fullchain.pem")
