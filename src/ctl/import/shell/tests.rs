//! Lines, and what bash would make of them.

use proptest::prelude::*;

use super::*;

fn only(line: &str) -> Command {
    match parse(line) {
        Ok(Line { steps }) if steps.len() == 1 => steps[0].command.clone(),
        other => panic!("{line}: {other:?}"),
    }
}

fn file(path: &str, append: bool) -> Sink {
    Sink::File { path: path.to_owned(), append }
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
        ("[ -f x ]", &["[", "-f", "x", "]"]),
        ("curl http://a/b?c=*", &["curl", "http://a/b?c=*"]),
        ("a é 日本", &["a", "é", "日本"]),
    ] {
        match parse(line) {
            Ok(parsed) => assert_eq!(parsed.steps[0].command.words, words, "{line}"),
            Err(_) => assert!(words.is_empty(), "{line}"),
        }
    }
}

#[test]
fn operators_join_commands() {
    use Joint::{And, Background, Next, Or, Pipe};
    for (line, joints) in [
        ("", &[][..]),
        (" \n", &[]),
        ("a", &[None]),
        ("a;", &[None]),
        ("a &", &[Some(Background)]),
        ("a&b", &[Some(Background), None]),
        (
            "a && b || c; d | e\nf |& g",
            &[Some(And), Some(Or), Some(Next), Some(Pipe), Some(Next), Some(Pipe), None],
        ),
        ("a\n\nb", &[Some(Next), None]),
    ] {
        let parsed = parse(line).unwrap();
        let found: Vec<_> = parsed.steps.iter().map(|step| step.then).collect();
        assert_eq!(found, joints, "{line:?}");
    }
}

#[test]
fn redirections_are_settled_in_their_order() {
    use Sink::{Inherited, Null};
    for (line, output, error) in [
        ("a", Inherited, Inherited),
        ("a > x", file("x", false), Inherited),
        ("a >> '/x y' 2>&1", file("/x y", true), file("/x y", true)),
        ("a 2>&1 > x", file("x", false), Inherited),
        ("a &> x", file("x", false), file("x", false)),
        ("a &>> x", file("x", true), file("x", true)),
        ("a >& x", file("x", false), file("x", false)),
        ("a >/dev/null 2>/dev/null", Null, Null),
        ("a 2>> e 1>| o", file("o", false), file("e", true)),
        ("a 2>e >&2", file("e", false), file("e", false)),
        ("2>e a", Inherited, file("e", false)),
    ] {
        let command = only(line);
        assert_eq!(
            (&command.output, &command.error, &command.words[..]),
            (&output, &error, &["a".to_owned()][..]),
            "{line}"
        );
    }
    assert_eq!(only("a < in").input, Source::File("in".into()));
    assert_eq!(only("a < /dev/null").input, Source::Null);
    assert_eq!(only("a b2>x").words, ["a", "b2"]);
}

#[test]
fn the_text_of_a_command_is_without_its_assignments() {
    let line = parse("cd /x && A=1 B='2 3' ./y 'z' >> log 2>&1 &").unwrap();
    assert_eq!(line.steps[0].command.text, "cd /x");
    let command = &line.steps[1].command;
    assert_eq!(command.text, "./y 'z' >> log 2>&1");
    assert_eq!(command.environment, [("A".into(), "1".into()), ("B".into(), "2 3".into())]);
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
        "if a; then b; fi",
        "for x in y; do z; done",
        "while true; do x; done",
        "! a",
        "[[ -f x ]]",
        "a # comment",
        "# comment",
        "X=1",
        "A+=1 b",
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
        "&& a",
        "a && && b",
        "a ;; b",
        "a\r\nb",
        ". ./env",
        "source x",
        "trap x EXIT",
        "a[0]=1 b",
        ">x A=1 b",
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
            && let [Step { command, then: None }] = parsed.steps.as_slice()
        {
            let output = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
            prop_assert!(output.status.success());
            let expected: String = command.words[2..].iter().map(|word| format!("{word}\0")).collect();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        }
    }
}
