//! What people see of the core: status, explanation, decision log. Read-only but for the log itself.

mod decisions;
mod status;
mod why;
