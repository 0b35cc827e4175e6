//! Runs a fleet under faults that are drawn from a seed, while scripted people use it, and has a checker judge what came of it.
//!
//! `chaos --seed 7 --seconds 60` starts PostgreSQL, Redis, nginx and seven pods of the program, breaks them, heals them, waits
//! until everything that was said is shown, writes down who asked for what, what every device was told and what the database
//! keeps, and then calls `chaos-check` on that folder, which knows nothing else.

mod faults;
mod people;
mod sabotage;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use fleet::client::{Device, User};
use fleet::fleet::{Fleet, RedisShape, Shape};
use fleet::journal::{Here, Journal, Run, Verified};
use fleet::place::Place as _;
use reqwest::Method;
use serde_json::{Value, json};

use self::people::{Person, Place, Stage, World};
use self::sabotage::Sabotage;

/// How long it may take until who is here is said to be, and who has gone is not.
const PRESENT: Duration = Duration::from_secs(30);

/// How long devices may take to show everything once all is whole.
const CAUGHT_UP: Duration = Duration::from_secs(60);

/// Where pods die, and how often of the times they come by.
const CRASHES: &str = "before_commit=0.003,after_commit=0.003,before_answer=0.003,before_beat=0.02,after_beat=0.02";

/// What the program is told.
#[derive(Debug, Parser)]
#[command(about = "Breaks a fleet while people use it, and has a checker judge what came of it")]
struct Wishes {
    /// Decides the faults, and what people do.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long there are faults.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many runs, with the seed and those after it.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Which Redis; without it each seed has another one in turn.
    #[arg(long)]
    redis: Option<Redis>,
    /// How many people.
    #[arg(long, default_value_t = 12)]
    people: usize,
    /// How long one person rests between two deeds at most, in milliseconds.
    #[arg(long, default_value_t = 80)]
    rest: u64,
    /// Break something on purpose, to see whether the checker finds it: then a run is right in which it does.
    #[arg(long)]
    sabotage: Option<Sabotage>,
    /// Break everything that can be broken on purpose, one after the other, with the same seed.
    #[arg(long, conflicts_with = "sabotage")]
    sabotages: bool,
    /// Leave out all faults.
    #[arg(long)]
    calm: bool,
    /// Have pods die at named points, such as between a commit and its announcement. The program must be built with the feature
    /// `sabotage`.
    #[arg(long)]
    crash: bool,
    /// Where to write what happened; kept only when something is wrong, unless it is named.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Add a line for each run to this file.
    #[arg(long)]
    ledger: Option<PathBuf>,
}

/// Which Redis a run is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Redis {
    Standalone,
    Cluster,
    Sentinel,
}

impl Redis {
    const ALL: [Self; 3] = [Self::Standalone, Self::Cluster, Self::Sentinel];

    /// That of a seed. One server more often than the others: links to it can be broken.
    fn of_seed(seed: u64) -> Self {
        Self::ALL[[0, 0, 1, 0, 2][usize::try_from(seed % 5).unwrap_or(0)]]
    }

    const fn shape(self) -> RedisShape {
        match self {
            Self::Standalone => RedisShape::Standalone,
            Self::Cluster => RedisShape::Cluster,
            Self::Sentinel => RedisShape::Sentinel,
        }
    }
}

/// Ends with 0 if nothing was wrong in any run, with 1 if something was, and with 2 if a run could not be made.
#[tokio::main]
async fn main() -> ExitCode {
    let wishes = Wishes::parse();
    let seeds = wishes.seed..wishes.seed.saturating_add(wishes.runs);
    let runs: Vec<(u64, Option<Sabotage>)> = match wishes.sabotages {
        true => Sabotage::value_variants().iter().map(|sabotage| (wishes.seed, Some(*sabotage))).collect(),
        false => seeds.map(|seed| (seed, wishes.sabotage)).collect(),
    };
    let mut wrong = Vec::new();
    for (seed, sabotage) in runs {
        let name = sabotage.map_or_else(String::new, |sabotage| format!(" with {}", sabotage.name()));
        match run(&wishes, seed, sabotage).await {
            Ok(true) => {}
            Ok(false) => wrong.push(format!("{seed}{name}")),
            Err(error) => {
                eprintln!("seed {seed}{name}: {error:#}");
                return ExitCode::from(2);
            }
        }
    }
    if wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("not right: {}", wrong.join(", "));
    ExitCode::from(1)
}

/// One run; whether the checker found nothing, or what was broken on purpose.
async fn run(wishes: &Wishes, seed: u64, sabotage: Option<Sabotage>) -> anyhow::Result<bool> {
    let redis = wishes.redis.unwrap_or_else(|| Redis::of_seed(seed));
    let length = Duration::from_secs(wishes.seconds);
    let mut planned = faults::schedule(seed, length, redis == Redis::Standalone);
    if wishes.calm {
        planned.clear();
    }
    let broken = sabotage.map_or_else(String::new, |sabotage| format!(", broken: {}", sabotage.name()));
    println!("seed {seed}, {redis:?}, {} faults in {} s{broken}", planned.len(), wishes.seconds);
    let mut environment = Vec::new();
    if let Some(wrongs) = sabotage.and_then(Sabotage::wrongs) {
        environment.push(("CARILLON_SABOTAGE", wrongs.to_owned()));
    }
    let shape = Shape { gateway: 3, redis: redis.shape(), own_postgres: true, environment, ..Shape::default() };
    let mut fleet = Fleet::start(shape).await;
    if let Some(sabotage) = sabotage {
        sabotage.happens(&fleet).await?;
    }
    let (stage, people, members) = gather(&fleet, wishes, seed).await;
    let living: Vec<_> = people.into_iter().map(|person| tokio::spawn(person.live(Arc::clone(&stage)))).collect();
    // Not before everything stands: who dies while it starts is not what this is about.
    if wishes.crash {
        faults::arm(&mut fleet, Some(CRASHES));
    }
    faults::happen(&mut fleet, &planned).await;
    faults::watch(&mut fleet, (stage.begun + length).into()).await;
    if wishes.crash {
        faults::arm(&mut fleet, None);
    }
    faults::heal(&mut fleet).await;
    stage.over.store(true, Ordering::Relaxed);
    let mut people = Vec::with_capacity(living.len());
    for person in living {
        people.push(person.await?);
    }
    let kept = wishes.out.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("carillon-chaos-{seed}")));
    let journal = Journal::at(&kept);
    let _ = std::fs::remove_dir_all(&kept);
    let run = Run {
        seed,
        seconds: wishes.seconds,
        redis: format!("{redis:?}").to_lowercase(),
        sabotage: sabotage.map(Sabotage::name),
        faults: planned.iter().map(ToString::to_string).collect(),
        members,
    };
    settle(&fleet, &people).await?;
    write(&journal, &fleet, &run, &stage, &people).await?;
    // Of a cluster one server may forget a list and another one keep the people on it: for minutes it is not said who has gone.
    let here = if redis == Redis::Standalone { who_is_here(&fleet, people).await? } else { Vec::new() };
    journal.write("here.jsonl", here)?;
    let is_right = judge(&kept, sabotage)?;
    if let Some(ledger) = &wishes.ledger {
        note(ledger, &run, &stage, is_right)?;
    }
    if is_right && wishes.out.is_none() {
        std::fs::remove_dir_all(&kept)?;
    } else {
        println!("kept for a look: {}", kept.display());
    }
    Ok(is_right)
}

/// Brings people together: each has two devices, and is in three of the conversations.
async fn gather(fleet: &Fleet, wishes: &Wishes, seed: u64) -> (Arc<Stage>, Vec<Person>, Vec<(String, Vec<String>)>) {
    let users: Vec<User> = (0..wishes.people).map(|number| fleet.user(&format!("u{number}"))).collect();
    let mut people = Vec::new();
    for (number, user) in users.iter().enumerate() {
        let devices = vec![user.device("phone").connect().await, user.device("desk").connect().await];
        people.push(Person::new(user.clone(), devices, seed.wrapping_mul(1_000).wrapping_add(number as u64)));
    }
    let mut world = World::default();
    for number in 0..wishes.people.div_ceil(2) {
        let members: Vec<&User> = (0..6).map(|step| &users[(number * 2 + step) % users.len()]).collect();
        let conversation = members[0].starts(fleet::client::Kind::Group, &members[1..]).await;
        world.conversations.push(Place {
            id: conversation.id.clone(),
            owner: members[0].name().to_owned(),
            members: members.iter().map(|user| user.name().to_owned()).collect(),
            away: Vec::new(),
            recent: Vec::new(),
        });
    }
    let members = world.conversations.iter().map(|place| (place.id.clone(), place.members.clone())).collect();
    let stage = Stage {
        world: Mutex::new(world),
        deeds: Mutex::default(),
        begun: Instant::now(),
        over: AtomicBool::new(false),
        rest: wishes.rest,
    };
    (Arc::new(stage), people, members)
}

/// Waits until every device has been told the last of its owner's feed, or time is up: the checker says what is missing.
async fn settle(fleet: &Fleet, people: &[Person]) -> anyhow::Result<()> {
    let feeds = fleet.rows("feeds").await?;
    let head = |user: &str| {
        let channel = format!("user:{user}");
        feeds.iter().find(|feed| feed["channel"] == channel.as_str()).and_then(|feed| feed["seq"].as_u64())
    };
    let has_all = |device: &Device, user: &str| {
        let record = device.record();
        record.frames.iter().rev().find_map(|frame| frame["prev"].as_u64().and(frame["seq"].as_u64())) >= head(user)
    };
    let begun = Instant::now();
    while begun.elapsed() < CAUGHT_UP {
        let all = people.iter().all(|person| person.devices.iter().all(|device| has_all(device, person.user.name())));
        if all {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What should not come any more would come now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// Asks who is here: first everybody is, and then every second one goes away.
async fn who_is_here(fleet: &Fleet, people: Vec<Person>) -> anyhow::Result<Vec<Here>> {
    let sam = fleet.user_with_role("sam", "staff");
    let names: Vec<String> = people.iter().map(|person| person.user.name().to_owned()).collect();
    let path = format!("/api/v1/presence?user_ids={}", names.join(","));
    // What is said of everybody, once it is `expected` of all or time is up.
    let said = async |expected: &dyn Fn(usize) -> bool| {
        let begun = Instant::now();
        loop {
            let answer = sam.asks(Method::GET, &path, &Value::Null).await;
            let items = answer["items"].as_array().cloned().unwrap_or_default();
            let state = |name: &str| {
                let item = items.iter().find(|item| item["user_id"] == name);
                item.and_then(|item| item["state"].as_str()).unwrap_or_default().to_owned()
            };
            let here = names.iter().enumerate().map(|(number, user)| Here {
                user: user.clone(),
                is_connected: expected(number),
                state: state(user),
            });
            let here: Vec<Here> = here.collect();
            let is_right = here.iter().all(|here| here.is_connected == (here.state == "online"));
            if is_right || begun.elapsed() > PRESENT {
                return here;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let mut here = said(&|_| true).await;
    let stay: Vec<Person> =
        people.into_iter().enumerate().filter(|(number, _)| number % 2 == 0).map(|(_, person)| person).collect();
    here.extend(said(&|number| number % 2 == 0).await);
    drop(stay);
    Ok(here)
}

/// Writes down everything that the checker may know.
async fn write(journal: &Journal, fleet: &Fleet, run: &Run, stage: &Stage, people: &[Person]) -> anyhow::Result<()> {
    journal.write("run.jsonl", [run])?;
    journal.write("deeds.jsonl", stage.deeds.lock().expect("nobody panics while holding it").iter())?;
    for person in people {
        for (device, name) in person.devices.iter().zip(["phone", "desk"]) {
            let frames = &device.record().frames;
            journal.write(&format!("devices/{}.{name}.jsonl", person.user.name()), frames)?;
        }
    }
    for table in ["messages", "conversation_participants", "entries", "feeds"] {
        journal.write(&format!("{table}.jsonl"), fleet.rows(table).await?)?;
    }
    let mut verified = Vec::new();
    for person in people {
        let answer = person.user.asks(Method::GET, "/api/v1/unread/verify", &Value::Null).await;
        let mut listed = Vec::new();
        let mine = person.user.asks(Method::GET, "/api/v1/messages/conversations?limit=100", &Value::Null).await;
        for conversation in mine["items"].as_array().context("a list has items")? {
            let id = conversation["id"].as_str().context("a conversation has an id")?.to_owned();
            let messages = person.user.reads_all_of(&id).await;
            listed.push((id, messages.into_iter().map(|message| message.id).collect()));
        }
        verified.push(Verified { user: person.user.name().to_owned(), answer, listed });
    }
    journal.write("verified.jsonl", verified)
}

/// Has the checker judge a folder.
fn judge(folder: &Path, sabotage: Option<Sabotage>) -> anyhow::Result<bool> {
    let checker = std::env::current_exe()?.with_file_name("chaos-check");
    let mut command = Command::new(&checker);
    command.arg(folder);
    if let Some(sabotage) = sabotage {
        command.args(["--expect", sabotage.class(), "--show", "2"]);
    }
    let status = command.status();
    let status = status.with_context(|| format!("{} is built together with this program", checker.display()))?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => anyhow::bail!("the checker ended with {status}"),
    }
}

/// Adds a line to the ledger.
fn note(ledger: &Path, run: &Run, stage: &Stage, is_right: bool) -> anyhow::Result<()> {
    use std::io::Write as _;
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output()?;
    let line = json!({
        "commit": String::from_utf8_lossy(&commit.stdout).trim(),
        "seed": run.seed, "seconds": run.seconds, "redis": run.redis, "sabotage": run.sabotage,
        "faults": run.faults.len(), "acknowledged": stage.acknowledged(), "right": is_right,
    });
    let mut file = std::fs::File::options().create(true).append(true).open(ledger)?;
    Ok(writeln!(file, "{line}")?)
}
