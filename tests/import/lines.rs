//! Single lines: what each kind of command becomes, in the configuration and in its unit.

use proptest::prelude::*;

use super::{around, files, loaded, plan};
use http::HeaderValue;
use stealthcheck::check::{Check, CredentialName, Probe, Source, Step, Url};
use stealthcheck::ctl::import::Plan;
use stealthcheck::unit::UnitName;

/// The plan of one check.
fn one(check: &str, fail: &str, run_as: Option<&str>) -> Plan {
    let checks = serde_json::json!({ "checks": [
        { "interval_ms": 10_000, "check_command": check, "fail_command": fail }
    ]});
    plan("{}", &checks.to_string(), &around(run_as)).unwrap()
}

fn check_of(plan: &Plan) -> Check {
    let config = loaded(plan);
    assert_eq!(config.checks.len(), 1);
    config.checks[0].clone()
}

/// The only unit of a plan, without comments, as `Key=value` lines.
#[track_caller]
fn unit(plan: &Plan) -> Vec<String> {
    let files = files(plan);
    let units: Vec<_> = files.iter().filter(|(path, _)| path.starts_with("units/")).collect();
    let [(_, text)] = units[..] else { panic!("{} units: {files:#?}", units.len()) };
    text.lines().filter(|line| line.contains('=') && !line.starts_with('#')).map(str::to_owned).collect()
}

#[track_caller]
fn has(lines: &[String], wanted: &[&str]) {
    for line in wanted {
        assert!(lines.iter().any(|found| found == line), "no {line} in {lines:#?}");
    }
}

/// The line that names a unit's setting.
fn setting<'l>(lines: &'l [String], key: &str) -> Option<&'l str> {
    lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[test]
fn a_program_that_is_left_running_becomes_a_service() {
    for (fail, exec, more) in [
        ("./service1 --port 1 &", "/srv/stealth1/service1 --port 1", &["WorkingDirectory=/srv/stealth1"][..]),
        ("cd /opt/gru && ./gru &", "/opt/gru/gru", &["WorkingDirectory=/opt/gru"]),
        ("cd ../x; ./y &", "/srv/x/y", &["WorkingDirectory=/srv/x"]),
        ("nohup ./service1 &", "/srv/stealth1/service1", &[]),
        (
            "nohup ./service1 >/dev/null 2>&1",
            "/srv/stealth1/service1",
            &["StandardOutput=null", "StandardError=inherit"],
        ),
        (
            "./service1 > /dev/null &",
            "/srv/stealth1/service1",
            &["StandardOutput=null", "StandardError=journal"],
        ),
        ("./service1 2>/dev/null &", "/srv/stealth1/service1", &["StandardError=null"]),
        (
            "PORT=80 NAME='a b%' node index.js &",
            "node index.js",
            &["Environment=PORT=80", "Environment=\"NAME=a b%%\""],
        ),
        ("./service1 'a b' '$x' 100% \\; &", "/srv/stealth1/service1 \"a b\" $$x 100%% \";\"", &[]),
        ("sudo ./service1 &", "/srv/stealth1/service1", &["User=root"]),
        ("sudo -u www-data ./service1 &", "/srv/stealth1/service1", &["User=www-data"]),
        ("nohup ./service1.sh >/dev/null 2>&1 &", "/srv/stealth1/service1.sh", &[]),
        ("exec ./service1 &", "/srv/stealth1/service1", &[]),
    ] {
        let plan = one("curl localhost:1", fail, Some("ubuntu"));
        let lines = unit(&plan);
        assert_eq!(setting(&lines, "ExecStart"), Some(exec), "{fail}");
        has(&lines, more);
        has(&lines, &["Type=exec", "ExitType=cgroup", "WantedBy=multi-user.target"]);
        if !fail.contains("sudo") {
            has(&lines, &["User=ubuntu"]);
        }
        assert_eq!(check_of(&plan).recovery.steps, [Step::Restart], "{fail}");
    }
}

#[test]
fn files_are_opened_with_the_rights_of_who_opened_them_before() {
    let by_user = |fail: &str| unit(&one("curl a", fail, Some("ubuntu")));
    let by_root = |fail: &str| unit(&one("curl a", fail, Some("root")));
    // systemd opens them as root, also where the user has put a link in the place of his log.
    let lines = by_user("./service1 'a b' >> log.txt 2>&1 &");
    assert_eq!(setting(&lines, "ExecStart"), Some("/bin/bash -c \"exec ./service1 'a b' >> log.txt 2>&1\""));
    assert_eq!(setting(&lines, "StandardOutput"), None);
    has(&lines, &["Type=exec", "WorkingDirectory=/srv/stealth1"]);

    let lines = by_root("./service1 >> 'log 100%.txt' 2>&1 &");
    has(&lines, &["StandardOutput=append:/srv/stealth1/log 100%%.txt", "StandardError=inherit"]);
    has(&by_root("./service1 > ../log &"), &["StandardOutput=truncate:/srv/log", "StandardError=journal"]);
    has(
        &by_root("./service1 2>> e > o &"),
        &["StandardOutput=truncate:/srv/stealth1/o", "StandardError=append:/srv/stealth1/e"],
    );
    // What a setting would read otherwise is left to bash.
    let lines = by_root("./service1 > 'a\\' &");
    assert_eq!(setting(&lines, "ExecStart"), Some("/bin/bash -c \"exec ./service1 > 'a\\\\'\""));
    let lines = by_root("./service1 < input &");
    assert_eq!(setting(&lines, "ExecStart"), Some("/bin/bash -c \"exec ./service1 < input\""));
    // The log was opened by who called sudo.
    let lines = by_user("sudo ./service1 >> log &");
    assert_eq!(setting(&lines, "ExecStart"), Some("/bin/bash -c \"exec sudo ./service1 >> log\""));
    has(&lines, &["User=ubuntu"]);
    // In a user manager there is one user.
    let lines = unit(&one("curl a", "./service1 >> log &", None));
    has(&lines, &["StandardOutput=append:/srv/stealth1/log", "WantedBy=default.target"]);
    assert_eq!(setting(&lines, "User"), None);
}

#[test]
fn what_may_end_is_launched_and_not_waited_for() {
    for (fail, exec) in [
        ("ssh ubuntu@example.com ./service1", "ssh -o BatchMode=yes ubuntu@example.com ./service1"),
        ("/usr/bin/ssh -p 22 h x", "/usr/bin/ssh -o BatchMode=yes -p 22 h x"),
        ("ssh h x > log", "/bin/bash -c \"exec ssh -o BatchMode=yes h x > log\""),
        ("ssh h x &", "ssh -o BatchMode=yes h x"),
        ("nohup ssh h x &", "ssh -o BatchMode=yes h x"),
        ("./restart.sh", "/srv/stealth1/restart.sh"),
        // A script may end: to take it for a service would be to run it again and again.
        ("./restart.sh >/dev/null &", "/srv/stealth1/restart.sh"),
        ("bash restart.sh &", "bash restart.sh"),
        ("bash -c 'x' &", "bash -c x"),
        ("killall x &", "killall x"),
        ("touch /tmp/x", "touch /tmp/x"),
        ("sudo reboot", "reboot"),
        ("sudo -E ./x", "sudo -E ./x"),
        ("systemctl --user restart x", "systemctl --user restart x"),
        ("systemctl restart a b", "systemctl restart a b"),
        ("pkill x; ./x &", "/bin/bash -c \"pkill x; ./x &\""),
        ("./x | tee log &", "/bin/bash -c \"./x | tee log &\""),
        ("./x $HOME", "/bin/bash -c \"./x $$HOME\""),
        (
            "echo \"`date +%s`\" \\\n >> \"log\"",
            "/bin/bash -c \"echo \\\"`date +%%s`\\\" \\\\\\n >> \\\"log\\\"\"",
        ),
        ("for x in 1 2; do ./x; done", "/bin/bash -c \"for x in 1 2; do ./x; done\""),
        ("exit 1", "/bin/bash -c \"exit 1\""),
        ("-x", "/bin/bash -c -x"),
        ("./a$b", "/bin/bash -c ./a$$b"),
    ] {
        let plan = one("curl localhost:1", fail, Some("ubuntu"));
        let lines = unit(&plan);
        let wanted = format!("/usr/bin/setsid --fork {exec}");
        assert_eq!(setting(&lines, "ExecStart"), Some(wanted.as_str()), "{fail}");
        has(&lines, &["Type=oneshot", "KillMode=process", "WorkingDirectory=/srv/stealth1"]);
        assert_eq!(setting(&lines, "WantedBy"), None, "nothing of it runs at boot");
        assert_eq!(check_of(&plan).recovery.steps, [Step::Start], "{fail}");
    }
}

#[test]
fn a_job_on_a_unit_needs_no_unit_of_its_own() {
    for (fail, unit, step) in [
        ("systemctl restart nginx", "nginx.service", Step::Restart),
        ("sudo systemctl restart nginx.service", "nginx.service", Step::Restart),
        ("sudo -n /bin/systemctl --no-block start nginx &", "nginx.service", Step::Start),
        ("systemctl reload nginx >/dev/null 2>&1", "nginx.service", Step::Reload),
        ("systemctl stop web.socket", "web.socket", Step::Stop),
        ("service nginx restart", "nginx.service", Step::Restart),
        ("sudo /etc/init.d/nginx restart", "nginx.service", Step::Restart),
    ] {
        let plan = one("curl localhost:1", fail, Some("ubuntu"));
        let check = check_of(&plan);
        assert_eq!((check.unit.unwrap().as_str(), check.recovery.steps), (unit, vec![step]), "{fail}");
        assert!(!files(&plan).keys().any(|path| path.starts_with("units/")), "{fail}");
    }
}

#[test]
fn states_of_units_and_processes_are_systemds_to_tell() {
    for (check, fail, unit, step) in [
        ("systemctl is-active nginx", "systemctl restart nginx", "nginx.service", Some(Step::Restart)),
        ("systemctl is-active -q nginx", "", "nginx.service", None),
        ("pgrep -x nginx", "service nginx start", "nginx.service", Some(Step::Start)),
        ("pgrep gru", "cd /opt/gru && ./gru", "gru.service", Some(Step::Restart)),
        (
            "pgrep -f 'node index.js' > /dev/null",
            "cd /opt/gru && node index.js",
            "gru.service",
            Some(Step::Restart),
        ),
        ("pidof service1", "./service1 &", "service1.service", Some(Step::Restart)),
    ] {
        let plan = one(check, fail, Some("ubuntu"));
        let found = check_of(&plan);
        assert_eq!(found.probe, Probe::Unit, "{check}");
        assert_eq!(found.unit.as_ref().unwrap().as_str(), unit, "{check}");
        assert_eq!(found.recovery.steps, Vec::from_iter(step), "{check}");
    }
    // One unit is watched, another is acted on.
    let plan = one("systemctl is-active nginx", "systemctl restart web.socket", Some("root"));
    let check = check_of(&plan);
    let other = UnitName::new("nginx-2.service").unwrap();
    assert_eq!(
        (check.unit.unwrap().as_str(), check.recovery.steps),
        ("nginx.service", vec![Step::StartUnit(other)])
    );
    assert_eq!(
        setting(&unit(&plan), "ExecStart"),
        Some("/usr/bin/setsid --fork systemctl restart web.socket")
    );
}

#[test]
fn curl_fails_for_a_status_only_with_f() {
    let http = |check: &str| match check_of(&one(check, "", Some("ubuntu"))).probe {
        Probe::Http(http) => http,
        other => panic!("{other:?}"),
    };
    let plain = http("curl localhost:8486");
    assert_eq!(plain.url, Source::Written(Url::parse("http://localhost:8486/").unwrap()));
    assert!(plain.status.contains(500) && plain.status.contains(404) && plain.status.contains(200));
    assert!(plain.verify_tls && !plain.follow_redirects);
    let strict = http("curl -fsSLk -X POST -H 'X-Plain: a\"b' https://example.org/x?y");
    assert!(strict.status.contains(302) && !strict.status.contains(400) && !strict.status.contains(500));
    assert!(!strict.verify_tls && strict.follow_redirects);
    let value = Source::Written(HeaderValue::from_static("a\"b"));
    assert_eq!((strict.method.as_str(), &strict.headers[0].1), ("POST", &value));
}

#[test]
fn secrets_of_curl_become_credentials_and_are_not_in_the_configuration() {
    let line = "curl -H 'Authorization: Bearer s3cret' -H 'X-A: ${B}' -H 'Accept: a' 'https://example.org/x?token=s3cret'";
    let plan = one(line, "", Some("ubuntu"));
    let Probe::Http(http) = check_of(&plan).probe else { panic!("no http") };
    let credential = |name: &str| Source::Credential(CredentialName::new(name).unwrap());
    assert_eq!(http.url, Source::Credential(CredentialName::new("example.org-url").unwrap()));
    assert_eq!(http.headers[0].1, credential("example.org-authorization"));
    assert_eq!(http.headers[1].1, credential("example.org-x-a"));
    assert_eq!(http.headers[2].1, Source::Written(HeaderValue::from_static("a")));
    let files = files(&plan);
    assert_eq!(files["credentials/example.org-url"], "https://example.org/x?token=s3cret");
    assert_eq!(files["credentials/example.org-authorization"], "Bearer s3cret");
    assert!(
        plan.files.iter().filter(|file| file.path.starts_with("credentials/")).all(|file| file.mode == 0o600)
    );
    assert!(!files["stealthcheck.yaml"].contains("s3cret"), "{}", files["stealthcheck.yaml"]);
    assert!(
        files["REPORT.txt"].contains("credentials/example.org-url credentials/example.org-authorization")
    );
}

#[test]
fn times_are_those_of_the_old_tool_as_far_as_they_are_safe() {
    let schedule = |interval: u64, check: &str| {
        let checks = serde_json::json!({ "checks": [{ "interval_ms": interval, "check_command": check }] });
        loaded(&plan("{}", &checks.to_string(), &around(None)).unwrap()).checks[0].schedule.clone()
    };
    for (interval, check, timeout, failure_threshold) in [
        (10_000, "curl a", 10_000, 1),
        (120_000, "curl a", 30_000, 1),
        (120_000, "curl -m 60 a", 60_000, 1),
        (10_000, "curl -m 60 a", 10_000, 1),
        (10_000, "curl -m 0.001 a", 10, 1),
        (1_000, "curl a", 1_000, 5),
        (1_500, "nc -z -w 1 a 1", 1_000, 4),
        (100, "nc -z a 1", 100, 50),
        (31_536_000_000, "curl a", 30_000, 1),
    ] {
        let found = schedule(interval, check);
        assert_eq!(found.interval.as_millis(), interval.into(), "{check}");
        assert_eq!(
            (found.timeout.as_millis(), found.failure_threshold),
            (timeout, failure_threshold),
            "{interval} {check}"
        );
    }
}

#[test]
fn the_same_line_is_one_unit_however_many_checks_have_it() {
    let checks = serde_json::json!({ "checks": [
        { "interval_ms": 1000, "check_command": "curl a:1", "fail_command": "./service1 &" },
        { "interval_ms": 1000, "check_command": "curl a:2", "fail_command": "./service1 &" },
        { "interval_ms": 1000, "check_command": "curl a:2", "fail_command": "./service1 2 &" },
        { "interval_ms": 1000, "check_command": "", "fail_command": "./never" },
    ]});
    let plan = plan("{}", &checks.to_string(), &around(Some("ubuntu"))).unwrap();
    let config = loaded(&plan);
    let units: Vec<_> = config
        .checks
        .iter()
        .map(|check| (check.name.as_str(), check.unit.as_ref().unwrap().as_str()))
        .collect();
    let expected = [
        ("service1", "service1.service"),
        ("service1-2", "service1.service"),
        ("service1-3", "service1-3.service"),
    ];
    assert_eq!(units, expected);
    assert_eq!(files(&plan).keys().filter(|path| path.starts_with("units/")).count(), 2);
}

#[test]
fn whom_a_check_tells_stays_as_it_was() {
    let mail = |global: &str, own: &str| {
        let config = format!(
            r#"{{"alert_emails":[{global}],"smtp":{{"server":"h","port":25,"username":"u","password":"p","sender":"s@h.org"}}}}"#
        );
        let checks = format!(
            r#"{{"checks":[{{"interval_ms":1000,"check_command":"curl a","alert_emails":[{own}]}},
                          {{"interval_ms":1000,"check_command":"curl b"}}]}}"#
        );
        let config = loaded(&plan(&config, &checks, &around(None)).unwrap());
        let alert = |index: usize| {
            let alert = &config.checks[index].alert;
            if alert.off { "nobody".to_owned() } else { alert.to.join(" ") }
        };
        (config.mail.is_some(), alert(0), alert(1))
    };
    assert_eq!(
        mail(r#""a@x.org""#, r#""b@x.org","c@x.org""#),
        (true, "b@x.org c@x.org".into(), "a@x.org".into())
    );
    assert_eq!(mail(r#""a@x.org""#, ""), (true, "a@x.org".into(), "a@x.org".into()));
    assert_eq!(mail("", r#""b@x.org""#), (true, "b@x.org".into(), "nobody".into()));
    assert_eq!(mail("", ""), (false, String::new(), String::new()));
}

/// What systemd makes of a word in double quotes with C escapes, `%%` and `$$`.
fn unquoted(line: &str) -> String {
    let mut chars = line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(line).chars();
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next().unwrap() {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'x' => text.push(char::from(
                    u8::from_str_radix(&chars.by_ref().take(2).collect::<String>(), 16).unwrap(),
                )),
                'U' => {
                    let code = u32::from_str_radix(&chars.by_ref().take(8).collect::<String>(), 16).unwrap();
                    text.push(char::from_u32(code).unwrap());
                }
                escaped => text.push(escaped),
            },
            '%' | '$' => {
                assert_eq!(chars.next(), Some(c), "{line}");
                text.push(c);
            }
            c => text.push(c),
        }
    }
    text
}

proptest! {
    #![proptest_config(crate::seeds::cases(300))]

    /// Any fail command at all makes a unit of whole lines, and what bash is left arrives there.
    #[test]
    fn no_fail_command_breaks_its_unit(fail in "[ -~\n\té\u{85}\u{2028}]{0,40}") {
        let plan = one("curl a", &fail, Some("ubuntu"));
        check_of(&plan);
        for (path, text) in files(&plan) {
            if !path.starts_with("units/") {
                continue;
            }
            for line in text.lines() {
                let known = line.is_empty() || line.starts_with(['#', '[']) || line.split_once('=').is_some_and(|(key, _)| {
                    key.chars().all(|c| c.is_ascii_alphabetic())
                });
                prop_assert!(known && (line.starts_with('#') || !line.ends_with('\\')), "{line:?} of {fail:?}");
                if let Some(word) = line.strip_prefix("ExecStart=/usr/bin/setsid --fork /bin/bash -c ") {
                    let ran = unquoted(word);
                    prop_assert!(ran == fail || ran.contains(fail.trim()), "{ran:?} of {fail:?}");
                }
            }
        }
    }

    /// Nothing in the old files breaks the configuration.
    #[test]
    fn no_text_breaks_the_configuration(check in any::<String>(), header in "[!-~]{1,20}", secret in any::<String>()) {
        let check = check.replace('\0', "");
        let config = serde_json::json!({ "alert_emails": ["a@example.org"], "smtp": {
            "server": "h", "port": 25, "username": "u", "password": secret.replace('\0', ""), "sender": "s@example.org" } });
        let checks = serde_json::json!({ "checks": [
            { "interval_ms": 1000, "check_command": format!("curl -H 'X: v{}' a", header.replace('\'', "")), "fail_command": check }
        ]});
        loaded(&plan(&config.to_string(), &checks.to_string(), &around(Some("ubuntu"))).unwrap());
    }
}
