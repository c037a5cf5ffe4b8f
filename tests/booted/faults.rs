//! What goes wrong around the daemon, on real machines, and what it promises all the same.

mod mail;
