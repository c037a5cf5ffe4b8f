//! quarantest, Phenolyzer and Multialign.

use crate::guarding::{assert_has, kinds};
use crate::lab::{MINUTE, Machine};

fn restarted(machine: &Machine, unit: &str, before: &str) {
    machine.wait_for(&format!("another run of {unit}"), MINUTE, || {
        (machine.unit(unit, "InvocationID") != before).then_some(())
    });
}

#[test]
fn quarantest_is_alive_when_it_answers_400_and_its_owner_alone_hears_when_it_does_not() {
    let machine = Machine::ready("quarantest");
    machine.stand_in("quarantest.py", "/usr/local/bin/quarantest");
    machine.sample_units(&["quarantest.service"]);
    machine.sh_ok("systemctl enable --now quarantest");
    machine.guard_by(
        "dev.backend.yaml",
        &[(
            "    alert: { to: [owner@example.org], after: 15m, repeat_interval: 24h }",
            "    interval: 1s\n    alert: { to: [owner@example.org], after: 3s }",
        )],
    );
    let shown = machine.becomes("quarantest", "passing");
    assert_has(&shown.to_string(), &["400"]);

    // Hung, and healed by the restart: in less than the time after which anybody is to hear of it, so nobody does.
    let run = machine.unit("quarantest.service", "InvocationID");
    machine.sh_ok("systemctl kill --signal=STOP quarantest");
    restarted(&machine, "quarantest.service", &run);
    machine.becomes("quarantest", "passing");

    // Beyond the help of restarts: its owner hears of it.
    machine.write("/etc/lab/broken", "");
    let mails = machine.wait_mails("quarantest", 1);
    assert_eq!((kinds(&mails)[0], mails[0].header("To")), ("DOWN", "owner@example.org"), "{mails:#?}");
    machine.sh_ok("rm /etc/lab/broken");
    machine.becomes("quarantest", "passing");
    machine.wait_for("the end of the thread", MINUTE, || {
        machine
            .mails_about("quarantest")
            .iter()
            .any(|mail| mail.subject().contains("RECOVERED"))
            .then_some(())
    });
    let everybody = machine.mailbox();
    assert!(everybody.iter().all(|mail| mail.header("To") == "owner@example.org"), "{everybody:#?}");
}

#[test]
fn phenolyzer_is_asked_a_real_query_and_recovers_when_it_is_wedged() {
    let machine = Machine::ready("phenolyzer");
    machine.stand_in("node", "/usr/bin/node");
    machine.stand_in("phenolyzer.py", "/opt/phenolyzer/index.js");
    machine.stand_in("multialign.py", "/opt/multialign/index.js");
    machine.sample_units(&["phenolyzer.service", "multialign.service"]);
    machine.sh_ok("systemctl enable --now phenolyzer multialign");
    machine.guard_by(
        "services.backend.yaml",
        &[
            (
                "interval: 1m\n    timeout: 30s\n    retry_interval: 10s",
                "interval: 2s\n    timeout: 2s\n    retry_interval: 1s",
            ),
            ("grace: 1m", "grace: 5s"),
            (
                "    alert: { to: [owner@example.org] }",
                "    interval: 1s\n    alert: { to: [owner@example.org] }",
            ),
        ],
    );
    machine.becomes("phenolyzer", "passing");
    machine.becomes("multialign", "passing");

    let run = machine.unit("phenolyzer.service", "InvocationID");
    machine.sh_ok("curl -sf -m 5 http://127.0.0.1:9001/wedge");
    assert_eq!(machine.sh_ok("curl -sf -m 5 http://127.0.0.1:9001/"), "ok", "to a simpler probe it is well");
    restarted(&machine, "phenolyzer.service", &run);
    machine.becomes("phenolyzer", "passing");
    let mails = machine.wait_mails("phenolyzer", 2);
    assert_eq!(kinds(&mails), ["DOWN", "RECOVERED"]);
    assert_has(&mails[0].body, &["no answer within 2s", "force-stop the instance"]);
    assert_eq!(mails[0].header("To"), "ops@example.org");
    let left = machine.sh("pgrep -a sleep").stdout;
    assert_eq!(left, "", "what the wedged one had spawned outlived it");

    let run = machine.unit("multialign.service", "InvocationID");
    machine.sh_ok("systemctl kill --signal=STOP multialign");
    restarted(&machine, "multialign.service", &run);
    let mails = machine.wait_mails("multialign", 2);
    assert_eq!(kinds(&mails), ["DOWN", "RECOVERED"]);
    assert!(mails.iter().all(|mail| mail.header("To") == "owner@example.org"), "{mails:#?}");
}
