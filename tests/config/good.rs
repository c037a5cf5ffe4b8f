//! Good configurations, and what they mean.

use std::time::Duration;

use stealthcheck::check::{AfterStop, Backoff, Check, HttpProbe, Probe, Rung, Schedule};
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
    assert_eq!(web.recovery.ladder, [Rung::Restart]);
    assert_eq!(web.recovery.limit, None);
    assert_eq!(web.recovery.backoff, Backoff { initial: 10 * SECOND, max: 5 * MINUTE });
    assert_eq!(web.recovery.grace, 30 * SECOND);
    assert_eq!(web.recovery.after_stop, AfterStop::After(5 * MINUTE));
    assert_eq!(web.recovery.after_displaced, AfterStop::After(60 * MINUTE));
    assert_eq!(web.alert.remind, Some(240 * MINUTE));
    assert_eq!((web.alert.after, web.alert.off, web.alert.to.len()), (Duration::ZERO, false, 0));
    assert_eq!(warnings(&config), ["0:: there is no `mail:` section: nobody will be told of a failure"]);
}

#[test]
fn short_forms_and_probe_defaults() {
    let config = text("checks: { a: { http: http://localhost/ }, b: { tcp: '[::1]:22' } }");
    let a = http(check(&config, "a"));
    assert_eq!((a.url.to_string().as_str(), a.method.as_str()), ("http://localhost/", "GET"));
    assert!(a.verify_tls && !a.follow_redirects && a.status.contains(204) && !a.status.contains(300));
    assert!(check(&config, "a").recovery.ladder.is_empty());
    assert_eq!(check(&config, "b").probe.describe(), "tcp [::1]:22");
}

#[test]
fn every_key_arrives() {
    let config = good("full.yaml");
    let full = check(&config, "full");
    let probe = http(full);
    assert_eq!(probe.url, "https://[::1]:9002/health?q=1");
    assert_eq!(probe.method, "HEAD");
    assert_eq!(probe.headers.len(), 2);
    assert_eq!(probe.status.to_string(), "200, 301-302, 404");
    assert_eq!(probe.body_contains.as_deref(), Some("fibridge"));
    assert!(probe.body_matches.as_ref().unwrap().0.is_match("GOOD 12"));
    assert!(probe.follow_redirects && !probe.verify_tls);
    let schedule =
        Schedule { every: 720 * MINUTE, timeout: 30 * SECOND, retry: MINUTE, fail_after: 1, pass_after: 3 };
    assert_eq!(full.schedule, schedule);
    let ladder = [Rung::Restart, Rung::StartUnit(unit("full-terminate.service")), Rung::Stop];
    assert_eq!(full.recovery.ladder, ladder);
    assert_eq!(full.recovery.limit, Some(5));
    assert_eq!(full.recovery.backoff, Backoff { initial: 2 * SECOND, max: 60 * MINUTE });
    assert_eq!(full.recovery.grace, Duration::ZERO);
    assert_eq!(full.recovery.after_stop, AfterStop::After(Duration::ZERO));
    assert_eq!(full.recovery.after_displaced, AfterStop::Never);
    assert_eq!(full.alert.to.iter().map(|to| &**to).collect::<Vec<_>>(), ["owner@example.org"]);
    assert_eq!((full.alert.after, full.alert.remind), (10 * MINUTE, None));
    assert_eq!(full.runbook.as_deref(), Some("ssh ubuntu@example.org\nevery: this is no key\n"));

    let mail = config.mail.as_ref().unwrap();
    assert_eq!(mail.to, ["ops@example.org", "Second <second@example.org>"]);
    assert_eq!((mail.smtp.port, mail.smtp.tls), (587, SmtpTls::Starttls));
    assert_eq!(mail.smtp.password_credential.as_deref(), Some("smtp-password"));
}

#[test]
fn defaults_are_inherited_and_give_way_to_a_short_interval() {
    let config = good("full.yaml");
    let inherits = check(&config, "inherits");
    let schedule =
        Schedule { every: MINUTE, timeout: 10 * SECOND, retry: 15 * SECOND, fail_after: 2, pass_after: 2 };
    assert_eq!(inherits.schedule, schedule);
    assert_eq!(inherits.recovery.ladder, [Rung::Reload, Rung::Restart]);
    assert_eq!((inherits.recovery.grace, inherits.recovery.after_stop), (90 * SECOND, AfterStop::Never));
    assert_eq!(inherits.recovery.after_displaced, AfterStop::After(120 * MINUTE));
    assert_eq!(inherits.alert.remind, Some(720 * MINUTE));
    assert_eq!(inherits.alert.to.len(), 2);
    let short = check(&config, "short-interval");
    assert_eq!((short.schedule.timeout, short.schedule.retry), (2 * SECOND, 2 * SECOND));
    assert!(check(&config, "disk").recovery.ladder.is_empty());
    assert!(check(&config, "device").recovery.ladder.is_empty());
    assert!(check(&config, "banner").recovery.ladder.is_empty());
    let merged = check(&config, "merged");
    assert_eq!(merged.unit, Some(unit("merged.service")));
    assert_eq!((merged.schedule.every, merged.schedule.retry), (5 * SECOND, 3 * SECOND));
    assert_eq!(merged.recovery.ladder, [Rung::Start]);
    let names: Vec<_> = config.checks.iter().map(|check| check.name.as_str()).collect();
    assert!(names.is_sorted());
}

#[test]
fn warnings_name_what_is_probably_not_meant() {
    assert_eq!(
        warnings(&good("full.yaml")),
        [
            "30:checks.full.http.verify_tls: whoever answers is believed: the certificate is not verified",
            "49:checks.device: nothing is done when dev-sda.device fails, mail apart: systemd has no such job for it",
        ]
    );
    let config = text(
        "checks:\n  a: { unit: a.timer, alert: { to: a@example.org } }\n  b: { tcp: 'a:1', grace: 5s, alert: { off: true } }\n",
    );
    assert_eq!(
        warnings(&config),
        [
            "0:: there is no `mail:` section: nobody will be told of a failure",
            "2:checks.a: nothing is done when a.timer fails, mail apart: only a service is restarted without `recover`",
            "2:checks.a.alert: nobody will be told: there is no `mail:` section",
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
fn only_what_the_ladders_can_lead_to_is_permitted() {
    let config = text(
        "checks:\n  a: { unit: a.service, recover: [reload, restart, { start: x.service }] }\n  b: { unit: a.service }\n  \
         c: { unit: c.service, recover: none }\n  d: { unit: d.service, recover: [stop, start] }\n  e: { tcp: 'e:1' }\n",
    );
    let pairs: Vec<String> = permitted(&config).iter().map(|(verb, unit)| format!("{verb} {unit}")).collect();
    let expected = [
        "reload a.service",
        "reset-failed a.service",
        "reset-failed d.service",
        "restart a.service",
        "start d.service",
        "start x.service",
        "stop d.service",
    ];
    assert_eq!(pairs, expected);
}
