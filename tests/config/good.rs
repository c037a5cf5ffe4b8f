//! Good configurations, and what they mean.

use std::time::Duration;

use stealthcheck::check::{
    Backoff, Check, CredentialName, DnsProbe, HttpProbe, JobProbe, Percent, Probe, RecordKind, Respect,
    Schedule, Source, Starttls, Step, TlsProbe, Url, UsageLimit, UsageProbe, UsedBy,
};
use stealthcheck::config::{Config, SmtpTls, permitted};
use stealthcheck::unit::UnitName;

use super::{load, load_text};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn good(name: &str) -> Config {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/good").join(name);
    load(&path).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn text(text: &str) -> Config {
    load_text(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn check<'c>(config: &'c Config, name: &str) -> &'c Check {
    config.checks.iter().find(|check| check.name.as_str() == name).unwrap()
}

fn http(check: &Check) -> &HttpProbe {
    let Probe::Http(http) = &check.probe else { panic!("{:?}", check.probe) };
    http
}

fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(|w| format!("{}:{}: {}", w.line.unwrap_or(0), w.key, w.message)).collect()
}

fn unit(name: &str) -> UnitName {
    UnitName::new(name).unwrap()
}

#[test]
fn nothing_is_a_configuration_without_checks() {
    for nothing in ["", "# only a comment\n", "---\n", "checks:\n", "mail:\ndefaults:\nchecks:\n", "{}"] {
        let config = text(nothing);
        assert!(
            config.checks.is_empty() && config.mail.is_none() && config.warnings.is_empty(),
            "{nothing:?}"
        );
        assert_eq!(config.files.len(), 1);
    }
}

#[test]
fn a_check_of_two_words_has_every_default() {
    let config = text("checks: { web: { unit: nginx.service } }");
    let web = check(&config, "web");
    assert_eq!(web.probe, Probe::Unit);
    assert_eq!(web.schedule, Schedule::default());
    assert_eq!(web.recovery.steps, [Step::Restart]);
    assert_eq!(web.recovery.max_attempts, None);
    assert_eq!(web.recovery.backoff, Backoff { initial: 10 * SECOND, max: 5 * MINUTE });
    assert_eq!(web.recovery.grace, 30 * SECOND);
    assert_eq!(web.recovery.respect_stop, Respect::For(5 * MINUTE));
    assert_eq!(web.recovery.respect_conflict, Respect::For(60 * MINUTE));
    assert_eq!(web.alert.repeat_interval, Some(240 * MINUTE));
    assert_eq!(web.alert.unknown_after, 10 * MINUTE);
    assert_eq!((web.alert.after, web.alert.off, web.alert.to.len()), (Duration::ZERO, false, 0));
    assert_eq!(warnings(&config), ["0:: there is no `mail:` section: no notifications will be sent"]);
}

#[test]
fn short_forms_and_probe_defaults() {
    let config = text("checks: { a: { http: http://localhost/ }, b: { tcp: '[::1]:22' } }");
    let a = http(check(&config, "a"));
    assert_eq!((a.url.to_string().as_str(), a.method.as_str()), ("http://localhost/", "GET"));
    assert!(a.verify_tls && !a.follow_redirects && a.status.contains(204) && !a.status.contains(300));
    assert!(check(&config, "a").recovery.steps.is_empty());
    assert_eq!(check(&config, "b").probe.describe(), "tcp [::1]:22");
}

fn tls(check: &Check) -> &TlsProbe {
    let Probe::Tls(tls) = &check.probe else { panic!("{:?}", check.probe) };
    tls
}

fn dns(check: &Check) -> &DnsProbe {
    let Probe::Dns(dns) = &check.probe else { panic!("{:?}", check.probe) };
    dns
}

#[test]
fn certificates() {
    let config = text(
        "checks:\n  short: { tls: 'gru.example.org:443' }\n  long:\n    tls: { address: '127.0.0.1:9002', server_name: \
         lf-proxy.example.org, valid_for: 30d, ca_file: /etc/ssl/ca.pem, starttls: smtp, file: /etc/ssl/cert.pem }\n",
    );
    let short = tls(check(&config, "short"));
    assert_eq!((short.server_name.as_str(), short.valid_for), ("gru.example.org", 14 * 24 * 60 * MINUTE));
    assert_eq!((&short.ca_file, short.starttls, &short.file), (&None, None, &None));
    assert_eq!(check(&config, "short").probe.describe(), "tls gru.example.org:443");
    let long = tls(check(&config, "long"));
    assert_eq!((long.server_name.as_str(), long.valid_for), ("lf-proxy.example.org", 30 * 24 * 60 * MINUTE));
    assert_eq!((long.starttls, long.address.port), (Some(Starttls::Smtp), 9002));
    assert_eq!(long.ca_file.as_deref(), Some("/etc/ssl/ca.pem".as_ref()));
    assert_eq!(long.file.as_deref(), Some("/etc/ssl/cert.pem".as_ref()));
    let described = "tls lf-proxy.example.org at 127.0.0.1:9002 (SMTP, STARTTLS)";
    assert_eq!(check(&config, "long").probe.describe(), described);
}

#[test]
fn questions_to_dns() {
    let config = text(
        "checks:\n  short: { dns: gru.example.org. }\n  a: { dns: { name: GRU.example.org, type: aaaa, server: '2001:db8::53', \
         expect: '2001:DB8::0:1', only: true } }\n  mx: { dns: { name: example.org, type: MX, server: 'ns.example.org:5353', \
         expect: ['10 MAIL.example.org.', '0 .'] } }\n  txt: { dns: { name: _dmarc.example.org, type: TXT, expect: 'v=DMARC1; \
         p=none' } }\n  ns: { dns: { name: example.org, type: NS, server: 192.0.2.53, expect: [NS1.example.org., ns2.example.org] } }\n",
    );
    let described = |name: &str| check(&config, name).probe.describe();
    let short = dns(check(&config, "short"));
    let any = DnsProbe {
        name: "gru.example.org".to_owned(),
        kind: RecordKind::A,
        server: None,
        expect: Vec::new(),
        only: false,
    };
    assert_eq!((short, described("short").as_str()), (&any, "dns A gru.example.org"));
    let a = dns(check(&config, "a"));
    assert_eq!(
        (a.kind, a.expect.as_slice(), a.only),
        (RecordKind::Aaaa, &["2001:db8::1".to_owned()][..], true)
    );
    assert_eq!(described("a"), "dns AAAA GRU.example.org at 2001:db8::53");
    assert_eq!(dns(check(&config, "mx")).expect, ["10 mail.example.org", "0 ."]);
    assert_eq!(described("mx"), "dns MX example.org at ns.example.org:5353");
    assert_eq!(dns(check(&config, "txt")).expect, ["v=DMARC1; p=none"]);
    assert_eq!(dns(check(&config, "ns")).expect, ["ns1.example.org", "ns2.example.org"]);
    assert_eq!(described("ns"), "dns NS example.org at 192.0.2.53");
}

#[test]
fn a_restart_for_a_certificate_that_nobody_has_renewed_is_warned_of() {
    let warned = |more: &str, recover: &str| {
        let yaml = "mail: { from: a@example.org, to: b@example.org, smtp: { host: 127.0.0.1, tls: none } }\nchecks:\n  a:\n    \
                    unit: a.service\n    tls: { address: 'a:1'MORE }\nRECOVER";
        warnings(&text(&yaml.replace("MORE", more).replace("RECOVER", recover)))
    };
    let expected = "3:checks.a: a.service is restarted also for a certificate that nobody has renewed; with `file` only for \
                    one that has been, or say what to `recover`";
    assert_eq!(warned("", ""), [expected]);
    for (more, recover) in [
        (", file: /a.pem", ""),
        (", valid_for: 0", ""),
        ("", "    recover: restart\n"),
        ("", "    recover: none\n"),
        ("", "    recover: { start: renew.service }\n"),
    ] {
        assert_eq!(warned(more, recover), Vec::<String>::new(), "{more} {recover}");
    }
}

#[test]
fn a_command_is_words_or_one_text_that_a_shell_would_split_into_them() {
    let config = text(
        "checks:\n  a: { command: [/usr/lib/nagios/plugins/check_disk, -w, 10%, ''] }\n  \
         b: { unit: b.service, command: \"check_disk -w '10% *'\", interval: 2h, timeout: 1h }\n  \
         c: { command: [sh, -c, 'df | grep -q \"$HOME\"'] }\n  d:\n    command: >\n      check_http -H example.org\n      -u /?q=1\n",
    );
    let argv = |name: &str| {
        let Probe::Command(command) = &check(&config, name).probe else { panic!("{name}") };
        command.argv().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(argv("a"), ["/usr/lib/nagios/plugins/check_disk", "-w", "10%", ""]);
    assert_eq!(argv("b"), ["check_disk", "-w", "10% *"]);
    assert_eq!(argv("c"), ["sh", "-c", "df | grep -q \"$HOME\""]);
    assert_eq!(argv("d"), ["check_http", "-H", "example.org", "-u", "/?q=1"]);
    assert_eq!(check(&config, "a").probe.describe(), "command check_disk", "arguments may be secret");
    assert_eq!(check(&config, "b").schedule.timeout, 60 * MINUTE);
    assert_eq!(check(&config, "b").recovery.steps, [Step::Restart]);
    assert!(check(&config, "a").recovery.steps.is_empty());
}

#[test]
fn every_key_arrives() {
    let config = good("full.yaml");
    let full = check(&config, "full");
    let probe = http(full);
    assert_eq!(probe.url, Source::Written(Url::parse("https://[::1]:9002/health?q=1").unwrap()));
    assert_eq!(probe.method, "HEAD");
    assert_eq!(probe.headers.len(), 2);
    assert_eq!(probe.status.to_string(), "200, 301-302, 404");
    assert_eq!(probe.body_contains.as_deref(), Some("fibridge"));
    assert!(probe.body_matches.as_ref().unwrap().0.is_match("GOOD 12"));
    assert!(probe.follow_redirects && !probe.verify_tls);
    let schedule = Schedule {
        interval: 720 * MINUTE,
        timeout: 30 * SECOND,
        retry_interval: MINUTE,
        failure_threshold: 1,
        success_threshold: 3,
        max_response_time: Some(20 * SECOND),
    };
    assert_eq!(full.schedule, schedule);
    let steps = [Step::Restart, Step::StartUnit(unit("full-terminate.service")), Step::Stop];
    assert_eq!(full.recovery.steps, steps);
    assert_eq!(full.recovery.max_attempts, Some(5));
    assert_eq!(full.recovery.backoff, Backoff { initial: 2 * SECOND, max: 60 * MINUTE });
    assert_eq!(full.recovery.grace, Duration::ZERO);
    assert_eq!(full.recovery.respect_stop, Respect::For(Duration::ZERO));
    assert_eq!(full.recovery.respect_conflict, Respect::Forever);
    assert_eq!(full.alert.to.iter().map(|to| &**to).collect::<Vec<_>>(), ["owner@example.org"]);
    assert_eq!((full.alert.after, full.alert.repeat_interval), (10 * MINUTE, None));
    assert_eq!(full.alert.unknown_after, 2 * MINUTE);
    assert_eq!(full.runbook.as_deref(), Some("ssh ubuntu@example.org\ninterval: this is no key\n"));

    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:8484", "[::1]:8485"], "a port alone is loopback's, and each counts once");

    let mail = config.mail.as_ref().unwrap();
    assert_eq!(mail.to, ["ops@example.org", "Second <second@example.org>"]);
    assert_eq!((mail.smtp.port, mail.smtp.tls), (587, SmtpTls::Starttls));
    assert_eq!(mail.smtp.password_credential, CredentialName::new("smtp-password").ok());
}

#[test]
fn defaults_are_inherited_and_give_way_to_a_short_interval() {
    let config = good("full.yaml");
    let inherits = check(&config, "inherits");
    let schedule = Schedule {
        interval: MINUTE,
        timeout: 10 * SECOND,
        retry_interval: 15 * SECOND,
        failure_threshold: 2,
        success_threshold: 2,
        max_response_time: None,
    };
    assert_eq!(inherits.schedule, schedule);
    assert_eq!(inherits.recovery.steps, [Step::Reload, Step::Restart]);
    assert_eq!((inherits.recovery.grace, inherits.recovery.respect_stop), (90 * SECOND, Respect::Forever));
    assert_eq!(inherits.recovery.respect_conflict, Respect::For(120 * MINUTE));
    assert_eq!(inherits.alert.repeat_interval, Some(720 * MINUTE));
    assert_eq!(inherits.alert.unknown_after, 30 * MINUTE);
    assert_eq!(inherits.alert.to.len(), 2);
    let short = check(&config, "short-interval");
    assert_eq!((short.schedule.timeout, short.schedule.retry_interval), (2 * SECOND, 2 * SECOND));
    assert!(check(&config, "disk").recovery.steps.is_empty());
    assert!(check(&config, "device").recovery.steps.is_empty());
    assert!(check(&config, "banner").recovery.steps.is_empty());
    let merged = check(&config, "merged");
    assert_eq!(merged.unit, Some(unit("merged.service")));
    assert_eq!((merged.schedule.interval, merged.schedule.retry_interval), (5 * SECOND, 3 * SECOND));
    assert_eq!(merged.recovery.steps, [Step::Start]);
    let names: Vec<_> = config.checks.iter().map(|check| check.name.as_str()).collect();
    assert!(names.is_sorted());
}

#[test]
fn warnings_name_what_is_probably_not_meant() {
    assert_eq!(
        warnings(&good("full.yaml")),
        [
            "33:checks.full.http.verify_tls: the certificate is not verified, so any server is trusted",
            "53:checks.device: no recovery when dev-sda.device fails, only notifications: systemd has no such job for it",
        ]
    );
    let config = text(
        "checks:\n  a: { unit: a.timer, alert: { to: a@example.org } }\n  b: { tcp: 'a:1', grace: 5s, alert: { off: true } }\n",
    );
    assert_eq!(
        warnings(&config),
        [
            "0:: there is no `mail:` section: no notifications will be sent",
            "2:checks.a: no recovery when a.timer fails, only notifications: only a service is restarted without `recover`",
            "2:checks.a.alert: without effect: there is no `mail:` section",
            "3:checks.b.grace: without effect: the check has no `unit`",
        ]
    );
    let mail =
        "mail: { from: a@example.org, to: b@example.org, smtp: { host: HOST, tls: none, username: u } }";
    assert_eq!(text(&mail.replace("HOST", "127.0.0.1")).mail.unwrap().smtp.port, 25);
    assert_eq!(
        warnings(&text(&mail.replace("HOST", "mail.example.org"))),
        ["1:mail.smtp.username: with `tls: none` the password crosses the network in the clear"]
    );
}

#[test]
fn listening_beyond_this_machine_is_warned_about() {
    let config =
        text("listen: ['0.0.0.0:8484', '[::]:8485', '192.0.2.1:80', '[::ffff:127.0.0.1]:1', 8484]\n");
    assert_eq!(config.listen.len(), 5);
    let sentence =
        "reachable from other machines: everyone who can connect to this address can read the status";
    let expected: Vec<String> = (0..3).map(|n| format!("1:listen[{n}]: {sentence}")).collect();
    assert_eq!(warnings(&config), expected);
    assert!(text("checks:\n").listen.is_empty());
}

#[test]
fn only_what_the_steps_and_holds_can_lead_to_is_permitted() {
    let config = text(
        "checks:\n  a: { unit: a.service, recover: [reload, restart, { start: x.service }] }\n  b: { unit: a.service }\n  \
         c: { unit: c.service, recover: none }\n  d: { unit: d.service, recover: [stop, start] }\n  e: { tcp: 'e:1' }\n  \
         f: { command: true-is-a-word }\n  g: { unit: g.scope }\n",
    );
    let pairs: Vec<String> = permitted(&config).iter().map(|(verb, unit)| format!("{verb} {unit}")).collect();
    let expected = [
        "reload a.service",
        "reset-failed a.service",
        "reset-failed d.service",
        "restart a.service",
        "restart stealthcheck-probe@f.service",
        // Each may have to be started after a hold; a scope cannot be.
        "start a.service",
        "start c.service",
        "start d.service",
        "start x.service",
        "stop d.service",
        "stop stealthcheck-probe@f.service",
    ];
    assert_eq!(pairs, expected);
}

fn usage(check: &Check) -> UsageProbe {
    let Probe::Usage(usage) = &check.probe else { panic!("{:?}", check.probe) };
    UsageProbe::clone(usage)
}

#[test]
fn what_is_used_is_measured_of_the_unit_unless_it_says_the_host() {
    let config = text(
        "checks:\n\
         \x20 short: { unit: gru.service, cpu: 10% }\n\
         \x20 long: { unit: gru.service, cpu: { below: 0.5%, over: 30m, percent_of: machine } }\n\
         \x20 host: { cpu: { below: 190%, of: host, percent_of: cpu } }\n\
         \x20 bytes: { unit: gru.slice, memory: 1.5G }\n\
         \x20 all: { memory: { below: 80%, of: host, over: 10s } }\n",
    );
    let probe = |of, limit, over| UsageProbe { of, limit, over };
    let expected = [
        ("short", probe(UsedBy::Unit, UsageLimit::OneCpu(Percent(1000)), 5 * MINUTE)),
        ("long", probe(UsedBy::Unit, UsageLimit::AllCpus(Percent(50)), 30 * MINUTE)),
        ("host", probe(UsedBy::Host, UsageLimit::OneCpu(Percent(19_000)), 5 * MINUTE)),
        ("bytes", probe(UsedBy::Unit, UsageLimit::Bytes(3 << 29), 5 * MINUTE)),
        ("all", probe(UsedBy::Host, UsageLimit::Memory(Percent(8000)), 10 * SECOND)),
    ];
    for (name, expected) in expected {
        assert_eq!(usage(check(&config, name)), expected, "{name}");
    }
    assert_eq!(check(&config, "short").recovery.steps, [Step::Restart]);
    assert_eq!(check(&config, "short").schedule.interval, 30 * SECOND);
    assert_eq!(check(&config, "all").schedule.interval, 10 * SECOND, "a second sample must fit");
}

#[test]
fn a_window_or_a_job_needs_no_second_failure_unless_somebody_says_so() {
    let checks = "checks:\n\
         \x20 cpu: { unit: gru.service, cpu: 10%, interval: 20s }\n\
         \x20 job: { unit: backup.timer, job: { succeeded_within: 26h } }\n\
         \x20 twice: { unit: backup.service, job: { succeeded_within: 26h }, failure_threshold: 2 }\n\
         \x20 web: { unit: nginx.service }\n";
    let failure_threshold = |config: &Config| {
        ["cpu", "job", "twice", "web"].map(|name| check(config, name).schedule.failure_threshold)
    };
    let config = text(checks);
    assert_eq!(failure_threshold(&config), [1, 1, 2, 3]);
    assert_eq!(check(&config, "cpu").schedule.retry_interval, 20 * SECOND, "samples keep their distance");
    let written = text(&format!("defaults: {{ failure_threshold: 5 }}\n{checks}"));
    assert_eq!(failure_threshold(&written), [5, 5, 2, 5]);
}

#[test]
fn a_job_is_not_run_again_unless_somebody_says_so() {
    let config = text(
        "defaults: { recover: restart }\n\
         checks:\n\
         \x20 job: { unit: backup.service, job: { succeeded_within: 26h, max_runtime: 2h } }\n\
         \x20 again: { unit: backup.timer, job: { succeeded_within: 26h }, recover: { start: backup.service } }\n",
    );
    let job = check(&config, "job");
    assert_eq!(
        job.probe,
        Probe::Job(JobProbe { succeeded_within: 26 * 60 * MINUTE, max_runtime: 120 * MINUTE })
    );
    assert!(job.recovery.steps.is_empty());
    let again = check(&config, "again");
    let expected = JobProbe { succeeded_within: 26 * 60 * MINUTE, max_runtime: 26 * 60 * MINUTE };
    assert_eq!(again.probe, Probe::Job(expected), "no run takes longer than from one to the next");
    assert_eq!(again.recovery.steps, [Step::StartUnit(unit("backup.service"))]);
}

#[test]
fn keys_without_effect_are_warned_about() {
    let config = text(
        "mail: { from: a@b.example, to: [a@b.example], smtp: { host: b.example } }\n\
         checks:\n\
         \x20 cpu: { unit: gru.service, cpu: 10%, retry_interval: 5s }\n",
    );
    assert_eq!(
        warnings(&config),
        ["3:checks.cpu.retry_interval: without effect: usage is sampled every `interval`",]
    );
}

#[test]
fn urls_and_headers_come_from_credentials_where_the_configuration_says_so() {
    let config = text(
        "checks:\n  a: { http: { url_credential: health-url, headers: { Authorization: { credential: token }, X-A: b } } }\n",
    );
    let probe = http(check(&config, "a"));
    let name = |name: &str| CredentialName::new(name).unwrap();
    assert_eq!(probe.url, Source::Credential(name("health-url")));
    assert_eq!(probe.headers[0].1, Source::Credential(name("token")));
    assert_eq!(check(&config, "a").probe.describe(), "http GET (credential health-url)");
}

#[test]
fn secrets_of_the_configuration_are_shown_neither_to_users_nor_to_developers() {
    let config = text(
        "checks:\n  a: { http: { url: \"https://h/x?token=s3cret\", headers: { Authorization: Bearer s3cret } } }\n",
    );
    assert_eq!(check(&config, "a").probe.describe(), "http GET https://h/x?…");
    assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
}

/// Commands, regular expressions, texts to send or to find, and notes have a use of their own for `$` and brackets.
#[test]
fn placeholders_are_no_error_where_they_can_be_meant() {
    let config = text(
        r#"
checks:
  a: { command: [/bin/sh, -c, "test ${HOME} = $(pwd)"] }
  b: { tcp: { address: "localhost:25", send: "${A} $(b) {{c}}", expect: "%{D}" } }
  c: { http: { url: "http://h/?$filter=a", body_contains: "${A}", body_matches: '^a{2}$|\$\{X}$|$(b)' }, runbook: "run $(x) with ${Y} and {{z}}" }
"#,
    );
    assert_eq!(config.checks.len(), 3);
}
