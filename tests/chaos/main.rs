//! Runs a fleet under faults that are drawn from a seed, while scripted people use it, and has a checker judge what came of it.
//!
//! `chaos --seed 7 --seconds 60` starts PostgreSQL, Redis, nginx and seven pods of the program, breaks them, heals them, waits
//! until everything that was said is shown, writes down who asked for what, what every device was told and what the database
//! keeps, and then calls `chaos-check` on that folder, which knows nothing else.

mod aftermath;
mod faults;
mod memory;
mod people;
mod restore;
mod sabotage;
mod schedule;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum as _};
use fleet::client::{Kind, User};
use fleet::fleet::{Fleet, PostgresShape, Shape};
use fleet::journal::{Course, Here, Journal, Run};
use fleet::place::Place as _;
use futures_util::StreamExt as _;
use serde_json::json;

use self::aftermath::DEVICES;
use self::faults::Breaker;
use self::people::{Person, Place, Stage, World};
use self::restore::restore;
use self::sabotage::Sabotage;
use self::schedule::{Redis, schedule};

/// How long devices may take to show everything once all is whole.
const CAUGHT_UP: Duration = Duration::from_secs(60);

/// How long it may take until who is here is said to be, and who has gone is not.
const PRESENT: Duration = Duration::from_secs(30);

/// How long all of this may take when something is broken on purpose, so that it may never be right: for presence longer than the
/// grace in which somebody may come back.
const FOUND: Duration = Duration::from_secs(6);

/// How many messages are acknowledged before it is judged whether what is broken on purpose is found: what goes wrong now and then must
/// have done so, on a machine too that has much else to do.
const ENOUGH: usize = 500;

/// How long what is under way is given to end before everything is made whole.
const SILENT: Duration = Duration::from_millis(500);

/// How long a run may take beside its faults.
const LONGEST: Duration = Duration::from_secs(300);

/// With whom somebody talks directly: with those who come so much later.
const PAIRS: [usize; 2] = [1, 7];

/// In one run of five, by its seed, every pod has a clock of its own: asking a library for the time costs more than asking the machine.
const CLOCKS: u64 = 3;

/// How many runs in which something is broken on purpose go on at once: each waits for much.
const AT_ONCE: usize = 2;

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
    /// How long there is no other fault after one has begun at most, in milliseconds.
    #[arg(long, default_value_t = 3_500)]
    gap: u64,
    /// Break something on purpose, to see whether the checker finds it: then a run is right in which it does.
    #[arg(long)]
    sabotage: Option<Sabotage>,
    /// Break everything that can be broken on purpose, one after the other, with the same seed.
    #[arg(long, conflicts_with = "sabotage")]
    sabotages: bool,
    /// Leave out all faults.
    #[arg(long)]
    calm: bool,
    /// Instead of faults replace every pod, one after the other: then no request may fail, and no connection end but by code 1012.
    #[arg(long, conflicts_with_all = ["calm", "crash"])]
    update: bool,
    /// Instead of faults put the database back to where it was before, in a new epoch.
    #[arg(long, conflicts_with_all = ["calm", "crash", "update"])]
    restore: bool,
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

impl Wishes {
    /// What happens in a run, unless what is broken on purpose wants something else.
    const fn course(&self) -> Course {
        match (self.calm, self.update, self.restore) {
            (true, ..) => Course::Calm,
            (_, true, _) => Course::Update,
            (.., true) => Course::Restore,
            _ => Course::Faults,
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
    let at_once = if wishes.sabotages { AT_ONCE } else { 1 };
    let runs = runs.into_iter().map(async |(seed, sabotage)| {
        let name = sabotage.map_or_else(String::new, |sabotage| format!(" with {}", sabotage.name()));
        let most = Duration::from_secs(wishes.seconds) + LONGEST;
        let is_right = tokio::time::timeout(most, run(&wishes, seed, sabotage)).await.context("not over in time");
        (format!("{seed}{name}"), is_right.flatten())
    });
    let mut runs = futures_util::stream::iter(runs).buffer_unordered(at_once);
    let mut wrong = Vec::new();
    while let Some((name, is_right)) = runs.next().await {
        match is_right {
            Ok(true) => {}
            Ok(false) => wrong.push(name),
            Err(error) => {
                eprintln!("seed {name}: {error:#}");
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
    // What is broken on purpose does not ask for another one than that whose links can be broken.
    let of_seed = || if sabotage.is_some() { Redis::Standalone } else { Redis::of_seed(seed) };
    let redis = wishes.redis.unwrap_or_else(of_seed);
    let length = Duration::from_secs(wishes.seconds);
    let course = sabotage.and_then(Sabotage::course).unwrap_or_else(|| wishes.course());
    let clocks = seed % 5 == CLOCKS && course == Course::Faults && sabotage.is_none();
    let planned = match course {
        Course::Faults => schedule(seed, length, Duration::from_millis(wishes.gap), redis, clocks),
        Course::Calm | Course::Update | Course::Restore => sabotage.map_or_else(Vec::new, |one| one.faults(length)),
    };
    let broken = sabotage.map_or_else(String::new, |sabotage| format!(", broken: {}", sabotage.name()));
    println!("seed {seed}, {redis:?}, {course:?}, {} faults in {} s{broken}", planned.len(), wishes.seconds);
    let mut environment = Vec::new();
    if let Some(wrongs) = sabotage.and_then(Sabotage::wrongs) {
        environment.push(("CARILLON_SABOTAGE", wrongs.to_owned()));
    }
    let (postgres, redis_shape) = (PostgresShape::Small, redis.shape());
    let shape = Shape { gateway: 3, redis: redis_shape, postgres, clocks, environment, ..Shape::default() };
    let mut fleet = Fleet::start(shape).await;
    if let Some(sabotage) = sabotage {
        sabotage.happens(&fleet).await?;
    }
    let rooms_once_in = sabotage.map_or(people::NOW_AND_THEN, Sabotage::rooms_once_in);
    let (stage, people, members) = gather(&fleet, wishes, seed, course, rooms_once_in).await;
    let living: Vec<_> = people.into_iter().map(|person| tokio::spawn(person.live(Arc::clone(&stage)))).collect();
    // Not before everything stands: who dies while it starts is not what this is about.
    if wishes.crash {
        faults::arm(&mut fleet, Some(CRASHES));
    }
    let mut breaker = Breaker::default();
    let restored = match course {
        Course::Faults | Course::Calm => {
            breaker.happen(&mut fleet, &planned, length).await;
            None
        }
        Course::Update => {
            faults::update(&mut fleet).await;
            None
        }
        Course::Restore => Some(restore(&mut breaker, &mut fleet, &stage, length).await?),
    };
    breaker.watch(&mut fleet, (stage.begun + length).into()).await;
    while sabotage.is_some() && stage.acknowledged() < ENOUGH && stage.begun.elapsed() < length + CAUGHT_UP {
        tokio::time::sleep(SILENT).await;
    }
    if wishes.crash {
        faults::arm(&mut fleet, None);
    }
    // First they fall silent: in what followed, a hole would be seen.
    stage.over.store(true, Ordering::Relaxed);
    tokio::time::sleep(SILENT).await;
    faults::heal(&mut fleet).await?;
    let mut people = Vec::with_capacity(living.len());
    for person in living {
        people.push(person.await?);
    }
    let folder = || {
        let broken = sabotage.map_or_else(String::new, |sabotage| format!("-{}", sabotage.name()));
        std::env::temp_dir().join(format!("carillon-chaos-{seed}{broken}"))
    };
    let kept = wishes.out.clone().unwrap_or_else(folder);
    let journal = Journal::at(&kept);
    let _ = std::fs::remove_dir_all(&kept);
    let run = Run {
        seed,
        seconds: wishes.seconds,
        redis: format!("{redis:?}").to_lowercase(),
        sabotage: sabotage.map(Sabotage::name),
        course,
        faults: planned.iter().map(ToString::to_string).collect(),
        missed: std::mem::take(&mut breaker.missed),
        restored,
        members,
    };
    let (caught_up, present) = if sabotage.is_some() { (FOUND, FOUND) } else { (CAUGHT_UP, PRESENT) };
    journal.write("rooms.jsonl", aftermath::settle(&fleet, &run, &stage, &people, caught_up).await?)?;
    aftermath::write(&journal, &fleet, &run, &stage, &people, &breaker.scale.weights, caught_up).await?;
    // Nothing else is asked of who is here when something else is broken on purpose.
    let asks = sabotage.is_none_or(|sabotage| sabotage.class() == "ghost");
    if asks {
        aftermath::who_is_here(&journal, &fleet, people, present).await?;
    } else {
        journal.write::<Here>("here.jsonl", [])?;
    }
    let is_right = judge(&kept, sabotage)?;
    if !is_right {
        aftermath::keep_logs(&kept.join("logs"), &mut fleet)?;
    }
    if let Some(ledger) = &wishes.ledger {
        note(ledger, wishes, &run, &stage, is_right)?;
    }
    if is_right && wishes.out.is_none() {
        std::fs::remove_dir_all(&kept)?;
    } else {
        println!("kept for a look: {}", kept.display());
    }
    Ok(is_right)
}

/// Brings people together: each has two devices, is in three of the groups, and talks directly with four.
async fn gather(
    fleet: &Fleet,
    wishes: &Wishes,
    seed: u64,
    course: Course,
    rooms_once_in: u32,
) -> (Arc<Stage>, Vec<Person>, Vec<(String, Vec<String>)>) {
    let users: Vec<User> = (0..wishes.people).map(|number| fleet.user(&format!("u{number}"))).collect();
    let mut people = Vec::new();
    for (number, user) in users.iter().enumerate() {
        let devices = DEVICES.map(|name| user.device(name).connect());
        let devices = futures_util::future::join_all(devices).await;
        people.push(Person::new(user.clone(), devices, seed.wrapping_mul(1_000).wrapping_add(number as u64)));
    }
    let mut world = World::default();
    for number in 0..wishes.people.div_ceil(2) {
        let members: Vec<&User> = (0..6).map(|step| &users[(number * 2 + step) % users.len()]).collect();
        let conversation = members[0].starts(Kind::Group, &members[1..]).await;
        world.conversations.push(Place::new(&conversation.id, Some(members[0].name()), &members));
    }
    for (number, one) in users.iter().enumerate() {
        for other in PAIRS.map(|step| &users[(number + step) % users.len()]) {
            if one.name() == other.name() {
                continue;
            }
            let conversation = one.starts(Kind::Direct, &[other]).await;
            // Two have one conversation, whoever begins it.
            if world.conversations.iter().all(|place| place.id != conversation.id) {
                world.conversations.push(Place::new(&conversation.id, None, &[one, other]));
            }
        }
    }
    let members = world.conversations.iter().map(|place| (place.id.clone(), place.members.clone())).collect();
    // Whom a gateway gives up that does not answer is not told 1012.
    let length = Duration::from_secs(wishes.seconds);
    let stage = Stage::of(world, length, wishes.rest, rooms_once_in, course != Course::Update);
    (Arc::new(stage), people, members)
}

/// Has the checker judge a folder.
fn judge(folder: &Path, sabotage: Option<Sabotage>) -> anyhow::Result<bool> {
    let checker = std::env::current_exe()?.with_file_name("chaos-check");
    let mut command = Command::new(&checker);
    command.arg(folder);
    if let Some(sabotage) = sabotage {
        command.args(["--expect", sabotage.class(), "--show", "2"]);
    }
    let output = command.output();
    let output = output.with_context(|| format!("{} is built together with this program", checker.display()))?;
    let name = sabotage.map_or_else(String::new, |sabotage| format!("{}: ", sabotage.name()));
    print!("{name}{}", String::from_utf8_lossy(&output.stdout));
    match output.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => anyhow::bail!("the checker ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}

/// Adds a line to the ledger.
fn note(ledger: &Path, wishes: &Wishes, run: &Run, stage: &Stage, is_right: bool) -> anyhow::Result<()> {
    use std::io::Write as _;
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output()?;
    let line = json!({
        "commit": String::from_utf8_lossy(&commit.stdout).trim(),
        "seed": run.seed, "seconds": run.seconds, "redis": run.redis, "sabotage": run.sabotage,
        "people": wishes.people, "rest": wishes.rest, "gap": wishes.gap, "course": run.course, "faults": run.faults.len(), "missed": run.missed.len(), "acknowledged": stage.acknowledged(), "right": is_right,
    });
    let mut file = std::fs::File::options().create(true).append(true).open(ledger)?;
    Ok(writeln!(file, "{line}")?)
}
