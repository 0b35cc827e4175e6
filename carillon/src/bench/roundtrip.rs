//! `bench roundtrip`: from a REST request at an api pod, commit included, to a socket at a gateway pod.
//!
//! Messages are sent by the clock and not when the last one was answered, and a time counts from when it was due: a server
//! that stalls cannot hide it by being asked less (coordinated omission).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ground::{Pods, Servers};
use super::report::{Figure, Target};
use super::resp::Redis;
use super::rows::Rows;
use super::samples::Samples;
use super::visitors::token;
use super::wire::{PATIENCE, Socket, find};
use super::{Ground, Run, floor};

/// Conversations that take turns, so that no two messages wait for each other.
const CONVERSATIONS: usize = 16;
/// Connections that insert bare rows.
const INSERTERS: usize = 8;
/// Stands before the number in each message.
const MARK: &str = "bench message ";
const CHANNEL: &str = "carillon-bench-floor";

/// How much is sent.
#[derive(Debug, Clone, clap::Args)]
pub struct Wishes {
    /// Messages a second
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,

    /// Seconds of messages
    #[arg(long, default_value_t = 20.0)]
    pub seconds: f64,
}

impl Wishes {
    fn messages(&self) -> usize {
        (self.rate * self.seconds) as usize
    }

    /// When the message with this number is due.
    fn due(&self, begun: Instant, number: usize) -> Instant {
        begun + Duration::from_secs_f64(number as f64 / self.rate)
    }
}

/// Measures messages, between two measures of bare rows and publishes at the same rate.
pub async fn run(run: &mut Run, wishes: &Wishes) -> anyhow::Result<()> {
    let half = Wishes { seconds: wishes.seconds / 2.0, ..wishes.clone() };
    run.progress(&format!("roundtrip: bare insert and publish, {} a second", wishes.rate));
    let mut bare = bare(run, &half).await?;
    run.progress(&format!("roundtrip: REST send to socket, {} a second", wishes.rate));
    let sent = messages(run, wishes).await?;
    run.progress("roundtrip: bare insert and publish again");
    if let (Some(bare), Some(again)) = (&mut bare, self::bare(run, &half).await?) {
        bare.merge(&again);
        run.report.add(floor::times("roundtrip", "bare insert, then publish to hearing", bare));
    }
    let lost = wishes.messages().saturating_sub(sent.heard.len());
    run.report.add(floor::times("roundtrip", "REST send to its answer", &sent.answered));
    let percentiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
    run.report.add(percentiles.map(|(name, part)| {
        let what = format!("REST send to the socket of another pod, {name}");
        let figure = Figure::new("roundtrip", what, sent.heard.percentile(part), "ms");
        let figure = match &bare {
            Some(bare) => figure.of("bare insert and publish", bare.percentile(part)),
            None => figure,
        };
        if name == "p99" { figure.should_be(Target::AtMost(10.0)) } else { figure }
    }));
    run.report.add([Figure::new("roundtrip", "messages lost", lost as f64, "").should_be(Target::AtMost(0.0))]);
    Ok(())
}

/// What became of the messages.
struct Sent {
    answered: Samples,
    heard: Samples,
}

async fn messages(run: &Run, wishes: &Wishes) -> anyhow::Result<Sent> {
    let pods = Pods::start(&run.ground).await?;
    let http = reqwest::Client::new();
    let (heard, mut arrivals) = mpsc::unbounded_channel();
    let (mut conversations, mut listeners) = (Vec::new(), JoinSet::new());
    for number in 0..CONVERSATIONS {
        let [sender, recipient] = ["sender", "recipient"].map(|who| format!("bench-{who}-{number}"));
        let (token, theirs) = (token(&pods.secret, &sender)?, token(&pods.secret, &recipient)?);
        let mut socket = Socket::welcomed(pods.gateway, &theirs).await?;
        let wish = json!({ "type": "direct", "participant_ids": [recipient] });
        let url = format!("http://{}/api/v1/messages/conversations", pods.api);
        let answer = http.post(url).bearer_auth(&token).json(&wish).send().await?.error_for_status()?;
        let id = answer.json::<Value>().await?["id"].as_str().context("a conversation without an id")?.to_owned();
        conversations.push((token, id));
        let heard = heard.clone();
        listeners.spawn(async move {
            let mut tell = |text: &[u8]| {
                // Once everything has come, nobody counts any more.
                let _ = number_in(text).map(|number| heard.send((number, Instant::now())));
            };
            while socket.hear(&mut tell).await.is_ok() {}
        });
    }
    let url: Arc<str> = format!("http://{}/api/v1/messages/messages", pods.api).into();
    let (begun, mut requests) = (Instant::now(), JoinSet::new());
    for number in 0..wishes.messages() {
        let due = wishes.due(begun, number);
        tokio::time::sleep_until(due).await;
        let (token, id) = &conversations[number % CONVERSATIONS];
        let draft = json!({ "conversation_id": id, "message_text": format!("{MARK}{number}.") });
        let request = http.post(&*url).bearer_auth(token).json(&draft);
        requests.spawn(async move {
            request.send().await?.error_for_status()?;
            anyhow::Ok(due.elapsed())
        });
    }
    let mut answered = Samples::default();
    for took in requests.join_all().await {
        answered.add(took?);
    }
    let (mut times, mut seen) = (Samples::default(), vec![false; wishes.messages()]);
    while times.len() < wishes.messages() {
        let Ok(Some((number, at))) = tokio::time::timeout(PATIENCE, arrivals.recv()).await else { break };
        if !std::mem::replace(&mut seen[number], true) {
            times.add(at - wishes.due(begun, number));
        }
    }
    Ok(Sent { answered, heard: times })
}

/// The number in a message; `None` in anything else.
fn number_in(text: &[u8]) -> Option<usize> {
    let number = &text[find(text, MARK.as_bytes())? + MARK.len()..];
    std::str::from_utf8(&number[..find(number, b".")?]).ok()?.parse().ok()
}

/// The same with nothing between: a row is committed, then its number published, then heard.
async fn bare(run: &mut Run, wishes: &Wishes) -> anyhow::Result<Option<Samples>> {
    let Ground::Fleet(Servers { database, redis, .. }) = &run.ground else {
        run.report.skip("bare insert and publish: set CARILLON_DATABASE_URL and CARILLON_REDIS_URL to compare");
        return Ok(None);
    };
    let (Some(publisher), Some(mut listener)) = (Redis::connect(redis).await?, Redis::connect(redis).await?) else {
        run.report.skip("bare publish: only for redis://");
        return Ok(None);
    };
    listener.subscribe(CHANNEL).await?;
    let publisher = Arc::new(tokio::sync::Mutex::new(publisher));
    let (give_back, mut free) = mpsc::unbounded_channel();
    for _ in 0..INSERTERS {
        give_back.send(Rows::open(database).await?)?;
    }
    let begun = Instant::now();
    let hearing = tokio::spawn({
        let wishes = wishes.clone();
        async move {
            let mut times = Samples::default();
            while times.len() < wishes.messages() {
                let number: usize = listener.next().await?.parse()?;
                times.add(wishes.due(begun, number).elapsed());
            }
            anyhow::Ok(times)
        }
    });
    let mut inserts = JoinSet::new();
    for number in 0..wishes.messages() {
        tokio::time::sleep_until(wishes.due(begun, number)).await;
        let mut rows = free.recv().await.context("this end sends too")?;
        let (publisher, give_back) = (Arc::clone(&publisher), give_back.clone());
        inserts.spawn(async move {
            rows.insert().await?;
            publisher.lock().await.publish(CHANNEL, &number.to_string()).await?;
            Ok(give_back.send(rows)?)
        });
    }
    inserts.join_all().await.into_iter().collect::<anyhow::Result<()>>()?;
    Ok(Some(tokio::time::timeout(PATIENCE, hearing).await.context("a bare publish was not heard")???))
}
