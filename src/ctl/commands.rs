//! The commands that are a question to the daemon or an order, and its answer.
//!
//! In: arguments. Out: printed text and an exit code.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};

use super::exit::{Exit, Failure, of_check, of_snapshot, systemctl};
use super::style::{Colour, Style};
use super::text::{paint, sanitize, sanitize_json};
use super::{Status, detail, print, render};
use crate::bus::Bus;
use crate::bus::client::{AT_ONCE, CallError, Client};
use crate::time::Wall;

pub(super) async fn connect(bus: Bus) -> Result<Client, Failure> {
    Client::connect(bus).await.map_err(|error| Failure::of_call(&error, bus))
}

pub(super) async fn status(bus: Bus, asked: &Status) -> Result<Exit, Failure> {
    let client = connect(bus).await?;
    let names: Vec<&str> = asked.names.iter().map(String::as_str).collect();
    let asked_for = async || {
        if asked.json || !names.is_empty() { client.details(&names).await } else { client.overview().await }
    };
    let snapshot = asked_for().await.map_err(|error| Failure::of_call(&error, bus))?;
    if asked.json {
        let json = serde_json::to_string_pretty(&snapshot)
            .map_err(|error| Failure::new(Exit::Failed, format!("the status cannot be written: {error}")))?;
        print(&format!("{}\n", sanitize_json(&json)))?;
    } else {
        let style = Style::detect(asked.colour.when);
        let text = if names.is_empty() {
            render::overview(&snapshot, &style)
        } else {
            detail::detail(&snapshot, &style)
        };
        print(&text)?;
    }
    Ok(of_snapshot(&snapshot))
}

pub(super) async fn check(bus: Bus, names: &[String], colour: Colour) -> Result<Exit, Failure> {
    let client = connect(bus).await?;
    let style = Style::detect(colour);
    let asked = names.iter().map(|name| client.check(name));
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut exit = Exit::Ok;
    let mut failure = None;
    for answer in answers {
        match answer {
            Ok(check) => {
                // The mark is that of the probe that was just made, not that of the check's state.
                let shown = check
                    .last
                    .as_ref()
                    .map_or_else(|| check.health.clone(), |seen| seen.observation.health());
                let (sign, with, _) = render::mark(&shown, style.unicode);
                let sign = paint(sign, with, style.colour);
                let saw = check.last.as_ref().map(|seen| render::observed(&seen.observation));
                let saw = saw.unwrap_or_else(|| "not probed".to_owned());
                let (name, health) = (&check.name, &check.health);
                print(&format!("{sign} {name}: {saw} ({health}; {})\n", sanitize(&check.next)))?;
                if exit == Exit::Ok {
                    exit = of_check(&check);
                }
            }
            Err(error) => keep(&mut failure, &error, bus),
        }
    }
    failure.map_or(Ok(exit), Err)
}

pub(super) async fn pause(bus: Bus, names: &[String], for_: Duration) -> Result<Exit, Failure> {
    let client = connect(bus).await?;
    let style = Style::detect(Colour::Never);
    let mut failure = None;
    for name in names {
        match client.pause(name, for_).await {
            Ok(()) => {
                let now = now();
                let until = style.clock(now.after(for_), now);
                let (name, for_) = (sanitize(name), crate::time::human(for_));
                print(&format!(
                    "{name} is paused until {until} (for {for_}); `stealthctl resume {name}` resumes it.\n"
                ))?;
            }
            Err(error) => keep(&mut failure, &error, bus),
        }
    }
    failure.map_or(Ok(Exit::Ok), Err)
}

pub(super) async fn resume(bus: Bus, names: &[String]) -> Result<Exit, Failure> {
    let client = connect(bus).await?;
    let mut failure = None;
    for name in names {
        match client.resume(name).await {
            Ok(()) => print(&format!("{} is resumed.\n", sanitize(name)))?,
            Err(error) => keep(&mut failure, &error, bus),
        }
    }
    failure.map_or(Ok(Exit::Ok), Err)
}

pub(super) async fn test_mail(bus: Bus, to: &[String]) -> Result<Exit, Failure> {
    let client = connect(bus).await?;
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    match client.send_test_mail(&to).await {
        Ok(answer) => {
            print(&format!("The mail server accepted it: {}\n", sanitize(&answer)))?;
            Ok(Exit::Ok)
        }
        Err(CallError::Refused(refusal)) if matches!(refusal, crate::bus::Refusal::Failed(_)) => {
            let why = sanitize(&refusal.to_string());
            let systemctl = systemctl(bus);
            Err(Failure::new(
                Exit::Failed,
                format!(
                    "the mail was not sent: {why}; after changing the configuration run `{systemctl} reload stealthcheck`"
                ),
            ))
        }
        Err(error) => Err(Failure::of_call(&error, bus)),
    }
}

/// Of several failures in one command the first is the exit code, and each has its line.
pub(super) fn keep(failure: &mut Option<Failure>, error: &CallError, bus: Bus) {
    let next = Failure::of_call(error, bus);
    match failure {
        None => *failure = Some(next),
        Some(first) if first.message == next.message => {}
        Some(first) => first.message = format!("{}\nstealthctl: {}", first.message, next.message),
    }
}

/// The present moment.
pub(super) fn now() -> Wall {
    Wall(jiff::Timestamp::now().as_millisecond())
}
