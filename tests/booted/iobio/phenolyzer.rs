//! services.backend: Phenolyzer, which is asked afresh for a ranked answer, since it answers everything while it hangs.

use crate::guarding::{assert_has, assert_thread};
use crate::lab::{MINUTE, Machine};

#[test]
fn phenolyzer_by_the_runbook_is_restarted_when_it_stays_pending() {
    let machine = Machine::bare("phenolyzer");
    machine.repository("iobio-backend-services", "iobio-backend-services");
    machine.follow("Phenolyzer");
    machine.verify_units();
    machine.follow("Both monitored");
    machine.becomes("phenolyzer", "passing");
    machine.remove_checks("services.backend.yaml", "  # `/` is 200 even", "");
    machine.shorten(
        "services.backend.yaml",
        &[
            (
                "interval: 5m\n    timeout: 100s\n    retry_interval: 30s",
                "interval: 6s\n    timeout: 6s\n    retry_interval: 1s",
            ),
            ("seq 80", "seq 3"),
            ("grace: 2m", "grace: 5s"),
        ],
    );
    machine.becomes("phenolyzer", "passing");
    // The answer is in the cache, which is the unit's own; each query has ended without an end of Node.js.
    machine.sh_ok("test -s /var/cache/phenolyzer/la/lactic%20acidosis");
    assert_eq!(machine.unit("phenolyzer.service", "NRestarts"), "0");

    machine.killed_is_restarted_by_systemd("phenolyzer.service", "phenolyzer");
    machine.hung_is_restarted_by_stealthcheck("phenolyzer.service", "phenolyzer");
    machine.wait_mails("phenolyzer", 2);

    // Wedged: every request is answered with 200, the cached answer is there, and no query ends.
    let before = machine.unit("phenolyzer.service", "InvocationID");
    machine.write("/etc/lab/wedged", "");
    let query = "curl -sf -m 5 'http://127.0.0.1:9001/phenolyzer?term=lactic%20acidosis'";
    machine.wait_for("a query that hangs", MINUTE, || {
        machine.sh("pgrep -x sleep -u phenolyzer").success().then_some(())
    });
    assert_has(&machine.sh_ok(query), &["pending"]);
    machine.restarted("phenolyzer.service", &before);
    machine.sh_ok("rm /etc/lab/wedged");
    let mails = machine.wait_mails("phenolyzer", 4);
    assert_thread(&mails[2..], &["DOWN", "RECOVERED"]);
    assert_has(&mails[2].body, &["pending", "force-stop the instance"]);
    let left = machine.sh("pgrep -a sleep -u phenolyzer").stdout;
    assert_eq!(left, "", "what the wedged one had started outlived it");
}
