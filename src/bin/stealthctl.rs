//! `stealthctl`, the command. Everything it does is in [`stealthcheck::ctl`].

use std::process::ExitCode;

fn main() -> ExitCode {
    stealthcheck::ctl::main()
}
