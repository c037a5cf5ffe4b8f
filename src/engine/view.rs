//! What people see of the core: status, explanation, decision log. Read-only but for the log itself.

mod decisions;
mod next_action;
mod status;
mod storm;
mod why;

pub(super) use next_action::next_sentence;
