//! Let's Encrypt is played by Debian's pebble (an ACME server for tests) on the network outside the machine. It asks the
//! machine's port 80, as the real one does.

use std::fs;

use crate::lab::{MINUTE, Machine, Outside};

/// An ACME server outside a machine, and the name server that it asks: every name is the machine's address.
pub struct Acme {
    pub server: Outside,
    _names: Outside,
    _directory: tempfile::TempDir,
}

impl Acme {
    /// Starts it. The machine's certbot goes to it and not to Let's Encrypt, and the machine trusts it as it trusts that.
    pub fn outside(machine: &Machine) -> Self {
        machine.sh_ok(
            "cd /etc/lab && printf 'subjectAltName=IP:192.0.2.2\\n' >acme.ext &&
             openssl req -newkey rsa:2048 -nodes -subj /CN=acme -keyout acme.key -out acme.csr 2>/dev/null &&
             openssl x509 -req -in acme.csr -CA ca.crt -CAkey ca.key -set_serial 77 -days 90 -extfile acme.ext -out acme.crt \
                 2>/dev/null
             echo 'server = https://192.0.2.2:14000/dir' >>/etc/letsencrypt/cli.ini",
        );
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        for name in ["acme.key", "acme.crt"] {
            fs::write(path(name), machine.read(&format!("/etc/lab/{name}"))).unwrap();
        }
        let config = serde_json::json!({ "pebble": {
            "listenAddress": "192.0.2.2:14000", "managementListenAddress": "192.0.2.2:15000",
            "certificate": path("acme.crt"), "privateKey": path("acme.key"), "httpPort": 80, "tlsPort": 443,
            "certificateValidityPeriod": 90 * 24 * 3600,
        }});
        fs::write(path("config.json"), config.to_string()).unwrap();
        let off = |flag: &str| format!("-{flag}=");
        let names = machine.start_outside(&[
            "pebble-challtestsrv",
            "-defaultIPv4=192.0.2.1",
            &off("defaultIPv6"),
            "-dns01=127.0.0.1:8053",
            &off("http01"),
            &off("https01"),
            &off("tlsalpn01"),
        ]);
        // It validates at once, asks each time anew, and refuses no request for the exercise.
        let server = machine.start_outside(&[
            "env",
            "PEBBLE_VA_NOSLEEP=1",
            "PEBBLE_AUTHZREUSE=0",
            "PEBBLE_WFE_NONCEREJECT=0",
            "pebble",
            &format!("-config={}", path("config.json")),
            "-dnsserver=127.0.0.1:8053",
        ]);
        let roots = "curl -sf -m 2 https://192.0.2.2:15000/roots/0";
        machine.wait_for("the ACME server", MINUTE, || machine.sh(roots).success().then_some(()));
        machine
            .sh_ok(&format!("{roots} >/usr/local/share/ca-certificates/acme.crt && update-ca-certificates"));
        Self { server, _names: names, _directory: directory }
    }
}

impl Machine {
    /// Puts a certificate for the same key at the place of the newest that certbot has, valid for so many days, from the lab's
    /// own authority.
    pub fn certificate_with_days_left(&self, host: &str, days: u32) {
        self.sh_ok(&format!(
            "set -e; cd /etc/letsencrypt/live/{host}
             printf 'subjectAltName=DNS:{host}\\nbasicConstraints=CA:FALSE\\n' >/etc/lab/short.ext
             openssl req -new -key privkey.pem -subj /CN={host} -out /etc/lab/short.csr
             # Dates of certificates are in seconds: it is to be newer than the one before.
             sleep 1.1
             openssl x509 -req -in /etc/lab/short.csr -CA /etc/lab/ca.crt -CAkey /etc/lab/ca.key -set_serial $(date +%s%N) \
                 -days {days} -extfile /etc/lab/short.ext -out /etc/lab/short.crt 2>/dev/null
             cat /etc/lab/short.crt >cert.pem; cat /etc/lab/short.crt /etc/lab/ca.crt >fullchain.pem
             cat /etc/lab/ca.crt >chain.pem"
        ));
    }

    /// The serial number of the certificate that is served on a port of the machine; empty where none is.
    pub fn served_certificate(&self, port: u16, host: &str) -> String {
        let ask = format!(
            "openssl s_client -connect 127.0.0.1:{port} -servername {host} </dev/null | openssl x509 -noout -serial"
        );
        self.sh(&ask).stdout.trim_end().to_owned()
    }

    /// The serial number of the newest certificate that certbot has.
    pub fn certificate_on_disk(&self, host: &str) -> String {
        self.sh_ok(&format!("openssl x509 -noout -serial -in /etc/letsencrypt/live/{host}/cert.pem"))
    }
}
