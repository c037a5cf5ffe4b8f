//! The options of a command line, as getopt(3) reads them.

/// An option (`-s`, `--silent`) with its value, which is empty where it has none.
pub(super) type Given<'a> = (String, &'a str);

/// The options among a command's arguments and the other words. `valued`: those options that have a value, in one
/// text.
///
/// # Errors
/// A value is missing.
pub(super) fn read<'a>(words: &'a [String], valued: &str) -> Result<(Vec<Given<'a>>, Vec<&'a str>), String> {
    let (mut options, mut others) = (Vec::new(), Vec::new());
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let mut letters = match word.strip_prefix('-') {
            // One long option; else `-sSm5` is `-s -S -m 5`.
            Some(long) if long.starts_with('-') => "",
            Some(letters) => letters,
            None => {
                others.push(word);
                continue;
            }
        };
        loop {
            let mut rest = letters.chars();
            let option = rest.next().map_or_else(|| word.to_owned(), |letter| format!("-{letter}"));
            letters = rest.as_str();
            if valued.split(' ').any(|known| known == option) {
                let value = if letters.is_empty() { words.next() } else { Some(letters) };
                options.push((option.clone(), value.ok_or_else(|| format!("{option} has no value"))?));
                break;
            }
            options.push((option, ""));
            if letters.is_empty() {
                break;
            }
        }
    }
    Ok((options, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_getopt_does() {
        for (line, options, others) in [
            ("", &[][..], &[][..]),
            ("a b", &[], &["a", "b"]),
            (
                "-sS a --long -m 5 -w3",
                &[("-s", ""), ("-S", ""), ("--long", ""), ("-m", "5"), ("-w", "3")],
                &["a"],
            ),
            ("-zvw3 -", &[("-z", ""), ("-v", ""), ("-w", "3"), ("-", "")], &[]),
            ("--max 7 --max=8 --", &[("--max", "7"), ("--max=8", ""), ("--", "")], &[]),
            ("-é", &[("-é", "")], &[]),
        ] {
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            let (found, rest) = read(&words, "-m -w --max").unwrap();
            let found: Vec<_> = found.iter().map(|(option, value)| (option.as_str(), *value)).collect();
            assert_eq!((found.as_slice(), rest.as_slice()), (options, others), "{line}");
        }
        assert!(read(&["-m".to_owned()], "-m").is_err());
    }
}
