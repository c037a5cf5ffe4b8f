//! `stealthctl why`: the daemon's explanation of a check, as text for whoever asks at night.
//!
//! In: names, and the daemon's answers. Out: printed text and an exit code. It decides nothing, and explains nothing
//! itself.

use futures_util::stream::{self, StreamExt as _};

use super::commands::{connect, keep};
use super::exit::{Exit, Failure};
use super::print;
use super::render::mark;
use super::style::{Colour, Style};
use super::text::{Paint, paint, sanitize, sanitize_json, width, wrap};
use crate::bus::Bus;
use crate::bus::client::AT_ONCE;
use crate::status::{Decision, Explanation, Topic};
use crate::verdict::State;

/// Room for the topics, right-aligned.
const TOPIC: usize = 12;

pub(super) async fn why(bus: Bus, names: &[String], json: bool, colour: Colour) -> Result<Exit, Failure> {
    let client = connect(bus).await?;
    let mut failure = None;
    let mut explained = Vec::new();
    let asked = names.iter().map(|name| client.why(name));
    for answer in stream::iter(asked).buffered(AT_ONCE).collect::<Vec<_>>().await {
        match answer {
            Ok(explanation) => explained.push(explanation),
            Err(error) => keep(&mut failure, &error, bus),
        }
    }
    if json {
        let json = serde_json::to_string_pretty(&explained)
            .map_err(|error| Failure::new(Exit::Failed, format!("the answer cannot be written: {error}")))?;
        print(&format!("{}\n", sanitize_json(&json)))?;
    } else {
        let style = Style::detect(colour);
        let texts: Vec<String> = explained.iter().map(|explanation| text(explanation, &style)).collect();
        print(&texts.join("\n"))?;
    }
    failure.map_or(Ok(Exit::Ok), Err)
}

/// One check's explanation. Pure: "now" is when the daemon was asked.
#[must_use]
pub fn text(explanation: &Explanation, style: &Style) -> String {
    let (sign, with, _) = mark(&explanation.health, style.unicode);
    let sign = paint(sign, with, style.colour);
    let name = paint(explanation.name.as_str(), Paint::Strong, style.colour);
    let state = explanation.health.state;
    let health = match &explanation.health.suppressed_by {
        // The latest result is from before the suppression: "is passing" would be wrong of a stopped unit.
        Some(why) if state == State::Passing => format!("suppressed: {}", why.word()),
        Some(why) => format!("{state}, suppressed: {}", why.word()),
        None => state.to_string(),
    };
    let health = paint(&health, with, style.colour);
    let mut out = format!("{sign} {name} is {health}\n");
    let mut before: Option<Topic> = None;
    for reason in &explanation.now {
        let label = if before == Some(reason.topic) { String::new() } else { reason.topic.to_string() };
        before = Some(reason.topic);
        let colon = if label.is_empty() { ' ' } else { ':' };
        lines(&mut out, &format!("{label:>TOPIC$}{colon} "), &sanitize(&reason.text), style);
    }
    out.push('\n');
    if explanation.log.is_empty() {
        out.push_str("  No decision has been recorded since the check was configured.\n");
    }
    let rows: Vec<(String, &Decision)> =
        explanation.log.iter().map(|decision| (span(decision, explanation, style), decision)).collect();
    let room = rows.iter().map(|(span, _)| width(span)).max().unwrap_or(0);
    for (span, decision) in rows {
        let times = if decision.count > 1 { format!(" ({} times)", decision.count) } else { String::new() };
        let pad = " ".repeat(room.saturating_sub(width(&span)));
        let head = format!("  {span}{pad}  {:<TOPIC$} ", decision.topic);
        lines(&mut out, &head, &format!("{}{times}", sanitize(&decision.text)), style);
    }
    out
}

fn span(decision: &Decision, explanation: &Explanation, style: &Style) -> String {
    let first = style.clock(decision.first, explanation.at);
    let last = style.clock(decision.last, explanation.at);
    let dash = if style.unicode { "–" } else { "-" };
    if first == last { first } else { format!("{first} {dash} {last}") }
}

/// A text under its head: further lines stand under the first.
fn lines(out: &mut String, head: &str, text: &str, style: &Style) {
    let indent = width(head);
    let room = style.width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(20));
    for (i, line) in wrap(text, room).iter().enumerate() {
        let lead = if i == 0 { head.to_owned() } else { " ".repeat(indent) };
        out.push_str(format!("{lead}{line}").trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CheckName;
    use crate::status::Reason;
    use crate::time::Wall;
    use crate::verdict::Health;

    fn style(width: Option<usize>) -> Style {
        Style { colour: false, width, height: None, unicode: true, zone: jiff::tz::TimeZone::UTC }
    }

    #[test]
    fn it_reads_from_now_back_to_the_beginning_and_nothing_in_it_acts() {
        let at = Wall(1_795_345_200_000);
        let decision = |topic, text: &str, ago: i64, count| Decision {
            topic,
            text: text.into(),
            first: Wall(at.0 - ago * 1000),
            last: Wall(at.0 - ago * 1000 + i64::from(count - 1) * 5000),
            count: count as u32,
        };
        let reason = |topic, text: &str| Reason { topic, text: text.into() };
        let mut explanation = Explanation {
            name: CheckName::new("web").unwrap(),
            unit: None,
            at,
            health: Health::DOWN,
            now: vec![
                reason(Topic::Seen, "it failed 3s ago: \x1b[2Jrefused"),
                reason(Topic::Recovery, "attempt 1 (restart) was asked for 9s ago: failed"),
                reason(Topic::Recovery, "next: restart in 11s (attempt 2)"),
            ],
            log: vec![
                decision(Topic::Seen, "a failure: refused", 30, 3),
                decision(Topic::Incident, "down: refused", 9, 1),
            ],
        };
        let told = text(&explanation, &style(None));
        let expected = "✖ web is down\n\
            \x20       seen: it failed 3s ago: \\u{1b}[2Jrefused\n\
            \x20   recovery: attempt 1 (restart) was asked for 9s ago: failed\n\
            \x20             next: restart in 11s (attempt 2)\n\
            \n\
            \x20 10:59:30 – 10:59:40  seen         a failure: refused (3 times)\n\
            \x20 10:59:51             incident     down: refused\n";
        assert_eq!(told, expected);
        let narrow = text(&explanation, &style(Some(60)));
        assert!(narrow.lines().all(|line| width(line) <= 60), "{narrow}");
        explanation.log.clear();
        assert!(text(&explanation, &style(None)).ends_with("since the check was configured.\n"));
    }
}
