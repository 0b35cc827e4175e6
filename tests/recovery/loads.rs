//! Very much waits for somebody, or very many take nothing.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fleet::client::User;
use fleet::eventually::{eventually, until};
use fleet::fleet::{Fleet, Shape};
use fleet::place::Place as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Figure;
use crate::crowd::{Crowd, quantile};

/// Who talks while somebody is away.
const TALKERS: usize = 4;
/// How many things they say at the same time.
const VOICES: usize = 16;
/// How many come in at the same time.
const AT_ONCE: usize = 64;
/// Receive buffer of a socket that takes nothing, in bytes: what it does not take is the gateway's.
const SMALL: u32 = 4_096;
/// Sockets in the room whose times are measured.
const HEALTHY: usize = 100;
/// Bytes of a publish to those who take nothing.
const FLOOD: usize = 1_024;
/// How long each part takes.
const PART: Duration = Duration::from_secs(12);

/// Somebody is away while very much is said, and comes back.
pub async fn missed(messages: usize) -> anyhow::Result<Vec<Figure>> {
    let fleet = Fleet::start(Shape::default()).await;
    let crowd = Crowd::meets(&fleet, 1 + TALKERS, 0).await;
    let absent = crowd.users[TALKERS].device("phone").connect().await;
    absent.goes_away().await;
    let begun = Instant::now();
    let mut speaking = JoinSet::new();
    for number in 0..VOICES {
        let (user, conversation) = (crowd.users[number % TALKERS].clone(), crowd.conversation.clone());
        let share = messages / VOICES + usize::from(number < messages % VOICES);
        speaking.spawn(async move {
            let mut said = Vec::with_capacity(share);
            for count in 0..share {
                said.push(user.says(&conversation, &format!("{number} {count}")).await);
            }
            said
        });
    }
    let said = speaking.join_all().await.concat();
    let sent_in = begun.elapsed();
    let before = pss(&fleet)?;
    let begun = Instant::now();
    absent.comes_back().await;
    while absent.record().messages(&crowd.conversation.id).len() < messages && begun.elapsed() < 10 * PART {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed();
    let after = pss(&fleet)?;
    crowd.conversation.is_shown_on(&[&absent], &said, PART).await;
    Ok(vec![
        Figure::of("messages acknowledged while somebody was away", &said.len()),
        Figure::of("sends a second meanwhile", &(said.len() as u64 / sent_in.as_secs().max(1))),
        Figure::of("shown once, in order, from the cursor", &messages),
        Figure::of("until all are shown", &crate::time(took)),
        Figure::of("growth of the gateways meanwhile, KiB", &after.saturating_sub(before)),
    ])
}

/// Very many sockets take nothing of what their room is told, while others listen in another one.
pub async fn slow_readers(readers: usize) -> anyhow::Result<Vec<Figure>> {
    // Nobody here answers a ping, and what is measured is what a socket costs while it is kept.
    let environment = ["CARILLON_GATEWAY__HEARTBEAT_INTERVAL", "CARILLON_GATEWAY__STALL_TIMEOUT"];
    let environment = environment.map(|name| (name, "1h".to_owned())).to_vec();
    let fleet = Fleet::start(Shape { gateway: 1, environment, ..Shape::default() }).await;
    let user = fleet.user("sam");
    let door = format!("127.0.0.1:{}", fleet.gateway[0].port());
    let (reads, is_read) = watch::channel(true);
    let times: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let begun = Instant::now();
    let mut listening = JoinSet::new();
    for at_once in (0..readers).collect::<Vec<_>>().chunks(AT_ONCE) {
        let coming =
            at_once.iter().map(|number| visit(&fleet, &door, format!("slow{number}"), "tour_flood", Some(SMALL)));
        for stream in futures_util::future::try_join_all(coming).await? {
            listening.spawn(take(stream, is_read.clone()));
        }
    }
    for number in 0..HEALTHY {
        let stream = visit(&fleet, &door, format!("healthy{number}"), "tour_calm", None).await?;
        listening.spawn(measure(stream, begun, Arc::clone(&times)));
    }
    let part = async |floods: bool| {
        let said = speak(&user, begun, floods).await;
        let heard = || times.lock().expect("nobody panics while holding it").len();
        until(PART, "all hear all that is said to them", || heard() == said * HEALTHY).await;
        std::mem::take(&mut *times.lock().expect("nobody panics while holding it"))
    };
    let calm = part(false).await;
    let taken = part(true).await;
    let (before, kernel_before) = (pss(&fleet)?, kernel()?);
    reads.send_replace(false);
    // Until what each may have waiting is full.
    part(true).await;
    let slow = part(true).await;
    let (after, kernel_after) = (pss(&fleet)?, kernel()?);
    // Those who spoke may not be gone yet.
    let kept = async || fleet.gateway[0].measures("carillon_gateway_connections").await as usize;
    eventually(PART, async || match kept().await {
        kept if kept == readers + HEALTHY => Ok(()),
        kept => Err(format!("of {} sockets {kept} are kept", readers + HEALTHY)),
    })
    .await;
    let p99 = |times: &[Duration]| quantile(times, 990);
    let per_reader =
        |before: u64, after: u64| format!("{:.1} KiB", after.saturating_sub(before) as f64 / readers as f64);
    Ok(vec![
        Figure::of("sockets that take nothing, in one room", &readers),
        Figure::of("the others: publish to delivery without a flood, p99", &crate::time(p99(&calm))),
        Figure::of("with a flood that all take, p99", &crate::time(p99(&taken))),
        Figure::of("with a flood that nobody takes, p99", &crate::time(p99(&slow))),
        Figure::ratio(
            "nobody takes it, beside all take it, p99",
            p99(&slow).as_secs_f64() / p99(&taken).as_secs_f64(),
            1.25,
        ),
        Figure::of("growth of the gateway for each that takes nothing", &per_reader(before, after)),
        Figure::of("growth of the kernel's buffers for each", &per_reader(kernel_before, kernel_after)),
    ])
}

/// Says something twenty times a second where the healthy are, and ten times a second where the slow are if it `floods`. Answers how often
/// it did to the healthy.
async fn speak(user: &User, begun: Instant, floods: bool) -> usize {
    let (calm, flood) = (user.device("calm").connect().await, user.device("flood").connect().await);
    let end = Instant::now() + PART;
    let mut turn = tokio::time::interval(Duration::from_millis(50));
    let padding = "x".repeat(FLOOD);
    let mut count = 0_usize;
    while Instant::now() < end {
        turn.tick().await;
        if floods && count.is_multiple_of(2) {
            flood.sends(&json!({ "action": "message", "room": "tour_flood", "data": { "pad": padding } }));
        }
        let at = begun.elapsed().as_micros() as u64;
        calm.sends(&json!({ "action": "message", "room": "tour_calm", "data": { "at": at } }));
        count += 1;
    }
    // What is answered comes behind what was said: all of it was taken before these two leave.
    for device in [&calm, &flood] {
        device.asks(json!({ "action": "ping" })).await;
    }
    count
}

/// Opens a socket and joins a room.
async fn visit(fleet: &Fleet, door: &str, name: String, room: &str, buffer: Option<u32>) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let mut stream = socket.connect(door.parse()?).await?;
    let token = fleet.user(&name).token().to_owned();
    let request = format!(
        "GET /api/v1/ws HTTP/1.1\r\nHost: {door}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    comes(&mut stream, b"connection_established").await?;
    let command = json!({ "action": "subscribe", "room": room }).to_string();
    // Masked, as every frame of a client, with a key that changes nothing.
    let mut frame = vec![0x81, 0x80 | u8::try_from(command.len())?, 0, 0, 0, 0];
    frame.extend_from_slice(command.as_bytes());
    stream.write_all(&frame).await?;
    comes(&mut stream, b"\"ack\"").await?;
    Ok(stream)
}

/// Reads until `mark` has come.
async fn comes(stream: &mut TcpStream, mark: &[u8]) -> anyhow::Result<()> {
    let mut read = Vec::new();
    while !read.windows(mark.len()).any(|window| window == mark) {
        anyhow::ensure!(stream.read_buf(&mut read).await? > 0, "closed: {}", String::from_utf8_lossy(&read));
    }
    Ok(())
}

/// Takes whatever comes as long as it `is_read`, and then nothing any more.
async fn take(mut stream: TcpStream, mut is_read: watch::Receiver<bool>) {
    let mut buffer = [0; 4_096];
    let taking = async { while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {} };
    let told = tokio::select! {
        () = taking => return,
        told = is_read.wait_for(|is_read| !is_read) => told.is_ok(),
    };
    if told {
        std::future::pending::<()>().await;
    }
}

/// Notes how long each publish took.
async fn measure(mut stream: TcpStream, begun: Instant, times: Arc<Mutex<Vec<Duration>>>) {
    const MARK: &str = "\"at\":";
    let mut read = Vec::with_capacity(4_096);
    while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
        let now = begun.elapsed();
        // A frame that was not read to its end waits for the rest.
        let whole = read.iter().rposition(|byte| *byte == b'}').map_or(0, |last| last + 1);
        for found in String::from_utf8_lossy(&read[..whole]).split(MARK).skip(1) {
            let digits: String = found.chars().take_while(char::is_ascii_digit).collect();
            if let Ok(at) = digits.parse() {
                let took = now.saturating_sub(Duration::from_micros(at));
                times.lock().expect("nobody panics while holding it").push(took);
            }
        }
        read.drain(..whole);
    }
}

/// What the gateways hold of memory that is theirs, in KiB.
fn pss(fleet: &Fleet) -> anyhow::Result<u64> {
    let mut sum = 0;
    for pid in fleet.gateway.iter().filter_map(|pod| pod.id()) {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("a Pss")?;
        sum += line.trim().trim_end_matches(" kB").parse::<u64>()?;
    }
    Ok(sum)
}

/// What the kernel holds for all TCP sockets, in KiB.
fn kernel() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find(|line| line.starts_with("TCP:")).context("a line for TCP")?;
    let pages = line.split_whitespace().skip_while(|word| *word != "mem").nth(1).context("a count of pages")?;
    Ok(pages.parse::<u64>()? * 4)
}
