//! Lines, and what bash would make of them.

use proptest::prelude::*;

use super::*;

fn only(line: &str) -> Command {
    match parse(line) {
        Ok(commands) if commands.len() == 1 => commands[0].clone(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn words_are_unquoted() {
    for (line, words) in [
        ("a b  c", &["a", "b", "c"][..]),
        ("\t ./x --y=1 -z\t", &["./x", "--y=1", "-z"]),
        ("a 'b c' \"d e\" f\\ g", &["a", "b c", "d e", "f g"]),
        ("a ''\"\"", &["a", ""]),
        (r#"a "b\"c\\d\e" 'f\g'"#, &["a", "b\"c\\d\\e", "f\\g"]),
        (r"a \$x \; \* '$y' '*'", &["a", "$x", ";", "*", "$y", "*"]),
        ("a b#c =d e=f {", &[]),
        ("a b#c =d e=f ~g~ :/x", &[]),
        ("a b#c =d e=f g~ 2 -x~", &["a", "b#c", "=d", "e=f", "g~", "2", "-x~"]),
        ("a \\\n b\\\nc", &["a", "bc"]),
        ("curl http://a/b?c=*", &["curl", "http://a/b?c=*"]),
        ("a é 日本", &["a", "é", "日本"]),
    ] {
        match parse(line) {
            Ok(parsed) => assert_eq!(parsed[0].words, words, "{line}"),
            Err(_) => assert!(words.is_empty(), "{line}"),
        }
    }
}

#[test]
fn operators_join_commands() {
    for (line, joints) in [
        ("", &[][..]),
        (" \n", &[]),
        ("a", &[""]),
        ("a;", &[""]),
        ("a &", &["&"]),
        ("a&b", &["&", ""]),
        ("a && b || c; d & e\nf", &["&&", "||", ";", "&", ";", ""]),
        ("a\n\nb", &[";", ""]),
        ("a &&\n b", &["&&", ""]),
    ] {
        let parsed = parse(line).unwrap();
        let found: Vec<_> = parsed.iter().map(|command| command.then).collect();
        assert_eq!(found, joints, "{line:?}");
    }
}

#[test]
fn redirections_and_variables_are_seen() {
    use Around::{Files, Nothing, NullOutput, Variables};
    for (line, around) in [
        ("a", Nothing),
        ("a 2>&1", Nothing),
        ("a < /dev/null", Nothing),
        ("a >/dev/null 2>&1", NullOutput),
        ("a &>/dev/null", NullOutput),
        ("a > /dev/null 2> x", Files),
        ("a > x", Files),
        ("a >> '/x y' 2>&1", Files),
        ("a 2>&1 > x", Files),
        ("a &>> x", Files),
        ("a 1>>x 2>y", Files),
        ("2>e a", Files),
        ("a < in", Files),
        ("A=1 a", Variables),
        (">x A=1 B= a", Variables),
        ("A='2 3' a > x", Variables),
    ] {
        let command = only(line);
        assert_eq!((command.around, &command.words[..]), (around, &["a".to_owned()][..]), "{line}");
    }
    assert_eq!(only("a b2>x").words, ["a", "b2"]);
    assert_eq!(only("a A=1").words, ["a", "A=1"]);
    assert_eq!(only("'A'=1 b").words, ["A=1", "b"]);
}

#[test]
fn the_text_of_a_command_is_what_stands_in_the_line() {
    let commands = parse(" cd /x && A=1 B='2 3' ./y 'z' >> log 2>&1 & ").unwrap();
    assert_eq!(commands[0].text, "cd /x");
    assert_eq!(commands[1].text, "A=1 B='2 3' ./y 'z' >> log 2>&1");
}

#[test]
fn what_only_bash_understands_is_not_taken_apart() {
    for line in [
        "echo $HOME",
        "echo `date`",
        "echo \"$x\"",
        "ls *.log",
        "ls ?",
        "ls [ab]",
        "echo {a,b}",
        "~/x",
        "x --a=~/y",
        "(a; b)",
        "a <(b)",
        "[[ -f x ]]",
        "a # comment",
        "# comment",
        "X=1",
        "> x",
        "a >",
        "a 3> x",
        "a >&-",
        "a >& 2",
        "a << EOF",
        "a <<< x",
        "a 'b",
        "a \"b",
        "a \\",
        "a &&",
        "a |",
        "a | b",
        "a |& b",
        "a >| x",
        "a >& x",
        "a 22>x",
        "a 2>&12",
        "[ -f x ]",
        "a ; ; b",
        "& a",
        "&& a",
        "a && && b",
        "a ;; b",
        "a\r\nb",
        "a[0]=1 b",
        "f() { a; }",
    ] {
        assert!(parse(line).is_err(), "{line}: {:?}", parse(line));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(line in any::<String>()) {
        let _ = parse(&line);
    }

    #[test]
    fn single_quotes_bring_any_word_through(words in proptest::collection::vec("[^\0]{0,12}", 1..5)) {
        let quoted = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
        let line = format!("x {}", words.iter().map(quoted).collect::<Vec<_>>().join(" "));
        prop_assert_eq!(&only(&line).words[1..], words);
    }

    /// Against bash itself: what is understood is understood as bash does.
    #[test]
    fn words_are_those_of_bash(line in r#"[ab'"\\ =~.:#-]{0,16}"#) {
        // The program prints its arguments, each with a NUL behind it; nothing else in the line can act.
        let line = format!("printf '%s\\0' x{line}");
        if let Ok(parsed) = parse(&line)
            && let [command] = parsed.as_slice()
        {
            let output = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
            prop_assert!(output.status.success());
            let expected: String = command.words[2..].iter().map(|word| format!("{word}\0")).collect();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        }
    }
}
