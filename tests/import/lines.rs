//! Single lines: what each kind of command becomes, in the configuration and in its unit.

use proptest::prelude::*;

use super::{around, files, loaded, plan};
use stealthcheck::check::{Check, Probe, Source, Step, Url};
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
        ("nohup ./service1 &", "nohup ./service1", &[]),
        ("nohup ./service1 >/dev/null 2>&1", "/bin/bash -c \"exec nohup ./service1 >/dev/null 2>&1\"", &[]),
        ("./service1 > /dev/null &", "/bin/bash -c \"exec ./service1 > /dev/null\"", &[]),
        ("./service1 2>&1 </dev/null &", "/srv/stealth1/service1", &[]),
        (
            "PORT=80 NAME='a b%' node index.js &",
            "/bin/bash -c \"exec env PORT=80 NAME='a b%%' node index.js\"",
            &[],
        ),
        ("./service1 'a b' '$x' 100% \\; &", "/srv/stealth1/service1 \"a b\" $$x 100%% \";\"", &[]),
        ("sudo ./service1 &", "sudo ./service1", &[]),
        ("sudo -n ./service1 &", "sudo -n ./service1", &[]),
        ("nohup ./service1.sh &", "nohup ./service1.sh", &[]),
        ("setsid ./service1 &", "setsid ./service1", &[]),
    ] {
        let plan = one("curl localhost:1", fail, Some("ubuntu"));
        let lines = unit(&plan);
        assert_eq!(setting(&lines, "ExecStart"), Some(exec), "{fail}");
        has(&lines, more);
        has(&lines, &["Type=exec", "ExitType=cgroup", "WantedBy=multi-user.target"]);
        has(&lines, &["User=ubuntu"]);
        assert_eq!(check_of(&plan).recovery.steps, [Step::Restart], "{fail}");
    }
}

#[test]
fn files_are_opened_with_the_rights_of_who_opened_them_before() {
    // systemd would open them as root, also where the user has put a link in the place of his log.
    for (fail, line) in [
        ("./service1 'a b' >> log.txt 2>&1 &", "exec ./service1 'a b' >> log.txt 2>&1"),
        ("./service1 > 'a\\' &", "exec ./service1 > 'a\\\\'"),
        ("./service1 < input &", "exec ./service1 < input"),
        // The log was opened by who called sudo.
        ("sudo ./service1 >> log &", "exec sudo ./service1 >> log"),
        ("cd ../x && A=1 ./service1 >> log &", "exec env A=1 ./service1 >> log"),
    ] {
        for user in [Some("ubuntu"), Some("root"), None] {
            let lines = unit(&one("curl a", fail, user));
            let wanted = format!("/bin/bash -c \"{line}\"");
            assert_eq!(setting(&lines, "ExecStart"), Some(wanted.as_str()));
            assert_eq!((setting(&lines, "User"), setting(&lines, "StandardOutput")), (user, None));
            let target = if user.is_some() { "multi-user.target" } else { "default.target" };
            has(&lines, &["Type=exec", &format!("WantedBy={target}")]);
        }
    }
}

#[test]
fn what_may_end_is_launched_and_not_waited_for() {
    for (fail, exec) in [
        ("ssh ubuntu@example.com ./service1", "ssh ubuntu@example.com ./service1"),
        ("/usr/bin/ssh -p 22 h x", "/usr/bin/ssh -p 22 h x"),
        ("ssh h x > log", "/bin/bash -c \"exec ssh h x > log\""),
        ("ssh h x &", "ssh h x"),
        ("nohup ssh h x &", "nohup ssh h x"),
        ("./restart.sh", "/srv/stealth1/restart.sh"),
        // A script may end: to take it for a service would be to run it again and again.
        ("./restart.sh >/dev/null &", "/bin/bash -c \"exec ./restart.sh >/dev/null\""),
        ("bash restart.sh &", "bash restart.sh"),
        ("bash -c 'x' &", "bash -c x"),
        ("killall x &", "killall x"),
        ("touch /tmp/x", "touch /tmp/x"),
        ("sudo reboot", "sudo reboot"),
        ("sudo systemctl restart a b", "sudo systemctl restart a b"),
        ("sudo -u www-data ./service1 &", "sudo -u www-data ./service1"),
        ("exec ./service1 &", "/bin/bash -c \"exec ./service1 &\""),
        ("source env &", "/bin/bash -c \"source env &\""),
        ("A+=1 ./x &", "/bin/bash -c \"A+=1 ./x &\""),
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
        ("pidof service1", "./service1 &", "service1.service", Some(Step::Restart)),
    ] {
        let plan = one(check, fail, Some("ubuntu"));
        let found = check_of(&plan);
        assert_eq!(found.probe, Probe::Unit, "{check}");
        assert_eq!(found.unit.as_ref().unwrap().as_str(), unit, "{check}");
        assert_eq!(found.recovery.steps, Vec::from_iter(step), "{check}");
    }
    // What is looked for is not what is acted on: then the old line says whether it is there.
    for (check, fail, unit, step) in [
        ("systemctl is-active nginx", "systemctl restart web.socket", "web.socket", Step::Restart),
        ("systemctl is-active nginx", "./restart.sh", "restart.service", Step::Start),
        ("pgrep service", "./service1 &", "service1.service", Step::Restart),
        ("pgrep -f ./service1", "./service1 &", "service1.service", Step::Restart),
    ] {
        let found = check_of(&one(check, fail, Some("root")));
        let Probe::Command(command) = &found.probe else { panic!("{check}: {:?}", found.probe) };
        assert_eq!(command.arguments, ["-c", check]);
        assert_eq!((found.unit.unwrap().as_str(), found.recovery.steps), (unit, vec![step]), "{check}");
    }
}

#[test]
fn another_instance_of_the_old_tool_is_watched_and_not_started() {
    for (check, unit) in [("curl localhost:8486", None), ("systemctl is-active nginx", Some("nginx.service"))]
    {
        let plan = one(check, "../stealthcheck -port 8486 -dir ../stealth2 >> log 2>&1 &", Some("ubuntu"));
        let found = check_of(&plan);
        assert_eq!(found.unit.as_ref().map(UnitName::as_str), unit, "{check}");
        assert_eq!(found.recovery.steps, [], "nothing is done");
        assert!(!files(&plan).keys().any(|path| path.starts_with("units/")), "{check}");
        assert!(files(&plan)["REPORT.txt"].contains("another instance of the old tool"));
    }
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
    let strict = http("curl -fsSLk -X POST https://example.org/x?y");
    assert!(strict.status.contains(302) && !strict.status.contains(400) && !strict.status.contains(500));
    assert!(!strict.verify_tls && strict.follow_redirects);
    assert_eq!(strict.method.as_str(), "POST");
}

#[test]
fn a_line_that_may_have_a_secret_in_it_is_run_and_not_shown() {
    for line in [
        "curl -H 'Authorization: Bearer s3cret' https://example.org/",
        "curl 'https://example.org/x?token=s3cret'",
        "curl -u me:s3cret https://example.org/",
        "mysqladmin --password=s3cret ping",
    ] {
        let plan = one(line, line, Some("ubuntu"));
        let Probe::Command(command) = check_of(&plan).probe else { panic!("{line}") };
        assert_eq!(command.arguments, ["-c", line]);
        let files = files(&plan);
        assert!(!files["REPORT.txt"].contains("s3cret") && !plan.summary.contains("s3cret"), "{line}");
        let shown: Vec<_> =
            files["stealthcheck.yaml"].lines().filter(|yaml| yaml.contains("s3cret")).collect();
        assert_eq!(shown.len(), 1, "only the command itself: {shown:?}");
    }
    // Everything else is.
    let plan = one("curl -s http://example.org/status?verbose", "sudo -u www-data ./x &", Some("ubuntu"));
    assert!(files(&plan)["REPORT.txt"].contains("`sudo -u www-data ./x &`"));
    assert!(
        files(&plan)["stealthcheck.yaml"]
            .contains("# check_command: curl -s http://example.org/status?verbose")
    );
}

#[test]
fn any_check_command_arrives_at_bash_as_it_was() {
    for line in [
        "a\n  b\n\n c\n",
        " x: y # z",
        "'\"\\ \t",
        "- a",
        "é\u{202e}\u{85}\u{2028}\u{feff}x",
        "a\r\nb\u{7f}\u{1}",
        "? {a}",
        "yes",
        "1e3",
    ] {
        let Probe::Command(command) = check_of(&one(line, "", None)).probe else { panic!("{line}") };
        assert_eq!(command.arguments, ["-c", line]);
    }
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
                    let text = ran.strip_prefix("exec ").unwrap_or(&ran);
                    let text = text.strip_prefix("env ").unwrap_or(text);
                    prop_assert!(ran == fail || fail.contains(text), "{ran:?} of {fail:?}");
                }
            }
        }
    }

    /// Nothing in the old files breaks the configuration.
    #[test]
    fn no_text_breaks_the_configuration(check in any::<String>(), query in "[!-~]{1,20}", secret in any::<String>()) {
        let check = check.replace('\0', "");
        let config = serde_json::json!({ "alert_emails": ["a@example.org"], "smtp": {
            "server": "h", "port": 25, "username": "u", "password": secret.replace('\0', ""), "sender": "s@example.org" } });
        let checks = serde_json::json!({ "checks": [
            { "interval_ms": 1000, "check_command": format!("curl 'a/?{}'", query.replace('\'', "")), "fail_command": check }
        ]});
        loaded(&plan(&config.to_string(), &checks.to_string(), &around(Some("ubuntu"))).unwrap());
    }
}
