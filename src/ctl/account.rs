//! The machine's own accounts, as /etc/passwd has them.

use std::fs;

/// As whom the machine's daemon runs: the account that the package makes.
pub(super) const DAEMON: &str = "stealthcheck";

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// The account of this name.
pub(super) fn named(name: &str) -> Option<Account> {
    all().into_iter().find(|account| account.name == name)
}

/// All accounts; none where the file cannot be read.
pub(super) fn all() -> Vec<Account> {
    let file = fs::read_to_string("/etc/passwd").unwrap_or_default();
    file.lines().filter_map(parse).collect()
}

/// `name:password:uid:gid:…`
fn parse(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let (name, uid, gid) = (fields.next()?, fields.nth(1)?, fields.next()?);
    Some(Account { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_file_is_an_account() {
        let account = parse("web:x:33:34:Web:/var/www:/bin/sh").unwrap();
        assert_eq!((account.name.as_str(), account.uid, account.gid), ("web", 33, 34));
        assert_eq!(parse("# comment"), None);
        assert_eq!(parse("web:x:a:b::"), None);
    }
}
