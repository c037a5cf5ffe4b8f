//! What an HTTP check costs: CPU time of the checking thread for each check, beside bare socket loops, in one run.
//!
//! `cargo run --release --example bench_http [CHECKS_PER_ROUND] [ROUNDS] [CHECKS_PER_SECOND]`
//!
//! Rounds alternate between the loops, so that a busy machine troubles all alike, and the least of each one's rounds
//! counts. With a rate the thread sleeps between checks, as the daemon does; without, checks follow each other.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::socket_error;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use rustix::time::{ClockId, clock_gettime};
use stealthcheck::check::{HttpProbe, Probe, Source, StatusSet, Url};
use stealthcheck::probe::Prober;
use stealthcheck::verdict::Observation;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

type Fallible<T> = Result<T, Box<dyn Error>>;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nConnection: close\r\n\r\n";

fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u32>());
    let checks = arguments.next().transpose()?.unwrap_or(2_000);
    let rounds = arguments.next().transpose()?.unwrap_or(15);
    let rate = arguments.next().transpose()?;
    let pause = rate.map(|rate| Duration::from_secs(1) / rate.max(1));

    let address = serve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let prober = Prober::new();
    let probe = Probe::Http(Arc::new(HttpProbe {
        url: Source::Written(Url::parse(&format!("http://{address}/"))?),
        method: http::Method::GET,
        headers: Vec::new(),
        status: StatusSet::default(),
        body_contains: None,
        body_matches: None,
        follow_redirects: false,
        verify_tls: true,
    }));
    let mut best = [f64::MAX; 4];
    for _ in 0..rounds {
        let costs = [
            of_each(checks, || paced(pause, checks, || blocking(address)))?,
            of_each(checks, || paced(pause, checks, || non_blocking(address)))?,
            of_each(checks, || {
                runtime.block_on(ours(pause, checks, || check(prober.clone(), probe.clone())))
            })?,
            of_each(checks, || runtime.block_on(ours(pause, checks, || async { Ok(()) })))?,
        ];
        for (best, cost) in best.iter_mut().zip(costs) {
            *best = best.min(cost);
        }
    }
    let [blocking, bare, ours, idle] = best;
    let pace = rate.map_or("one after the other".to_owned(), |rate| format!("{rate} a second"));
    println!("CPU for each check, the least of {rounds} rounds of {checks}, {pace}");
    println!("  bare loop, blocking          {blocking:8.1} us");
    println!("  bare loop, non-blocking      {bare:8.1} us");
    println!("  stealthcheck's http probe    {ours:8.1} us");
    if rate.is_some() {
        println!("  of that, tokio's own timer   {idle:8.1} us");
    }
    println!(
        "  ratio                        {:8.2} to non-blocking, {:.2} to blocking",
        ours / bare,
        ours / blocking
    );
    Ok(())
}

async fn check(prober: Prober, probe: Probe) -> Result<(), String> {
    match prober.run(&probe, Duration::from_secs(5)).await {
        Observation::Passing { .. } => Ok(()),
        other => Err(other.text().to_owned()),
    }
}

/// Does `work` again and again. With a pause it does as the supervisor does: a loop that sleeps until something is due
/// and hands it to a task, beside a timer that ticks for the watchdog.
async fn ours<F, Fut>(pause: Option<Duration>, count: u32, mut work: F) -> Fallible<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>> + Send + 'static,
{
    let Some(pause) = pause else {
        for _ in 0..count {
            work().await?;
        }
        return Ok(());
    };
    let watchdog = tokio::spawn(async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
        }
    });
    let mut running = JoinSet::new();
    let mut due = Instant::now();
    for _ in 0..count {
        due += pause;
        sleep_until(due).await;
        running.spawn(work());
        while let Some(done) = running.try_join_next() {
            done??;
        }
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    watchdog.abort();
    Ok(())
}

/// Microseconds of this thread's CPU time that each of `count` takes in `work`.
fn of_each(count: u32, work: impl FnOnce() -> Fallible<()>) -> Fallible<f64> {
    let now = || clock_gettime(ClockId::ThreadCPUTime);
    let before = now();
    work()?;
    let after = now();
    let nanos = (after.tv_sec - before.tv_sec) as f64 * 1e9 + (after.tv_nsec - before.tv_nsec) as f64;
    Ok(nanos / 1e3 / f64::from(count))
}

fn paced(pause: Option<Duration>, count: u32, mut work: impl FnMut() -> Fallible<()>) -> Fallible<()> {
    let mut due = std::time::Instant::now();
    for _ in 0..count {
        if let Some(pause) = pause {
            due += pause;
            std::thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
        }
        work()?;
    }
    Ok(())
}

fn passed(answer: &[u8]) -> Fallible<()> {
    if answer.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err("no 200".into()) }
}

/// socket, connect, send, recv, close.
fn blocking(address: SocketAddr) -> Fallible<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(REQUEST)?;
    let mut answer = [0; 4096];
    let n = stream.read(&mut answer)?;
    passed(&answer[..n])
}

/// socket, connect, poll, getsockopt, send, poll, recv, close: the least for a process that must not block.
fn non_blocking(address: SocketAddr) -> Fallible<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address).map_err(std::io::Error::from) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            return Err(error.into());
        }
        _ => {}
    }
    poll(&mut [PollFd::new(&socket, PollFlags::OUT)], None)?;
    socket_error(&socket)??;
    send(&socket, REQUEST, SendFlags::NOSIGNAL)?;
    poll(&mut [PollFd::new(&socket, PollFlags::IN)], None)?;
    let mut answer = [0; 4096];
    let (n, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    passed(&answer[..n])
}

/// A server on a thread of its own, as small as can be: it reads a request, answers 200 and closes.
fn serve() -> Fallible<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answered = stream.and_then(|mut stream| {
                let mut request = [0; 4096];
                if stream.read(&mut request)? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
            });
            if let Err(error) = answered {
                eprintln!("server: {error}");
            }
        }
    });
    Ok(address)
}
