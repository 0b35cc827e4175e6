//! What a run leaves behind: waits until all is shown, asks who is here, and writes down everything that the checker may know.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fleet::client::{Device, STARTED_OVER, User};
use fleet::fleet::Fleet;
use fleet::journal::{Here, Journal, Memory, RoomAtEnd, Run, Said, Verified};
use fleet::place::Place as _;
use reqwest::Method;
use serde_json::Value;

use crate::people::{Person, ROOMS, Stage};

/// How long a message that was to be sent later may wait for a worker: one that died has it for a minute.
const SENT: Duration = Duration::from_secs(75);

/// The devices of each person.
pub const DEVICES: [&str; 2] = ["phone", "desk"];

/// Where Redis keeps who is here, by parts of names.
const PRESENCE: [&str; 5] = [":person:", ":lease:", ":people:", ":claim", ":gateways"];

/// How long an answer to a word in a room may take before it is said anew.
const ANSWERED: Duration = Duration::from_secs(5);

/// Waits until every message was sent that was to be sent later, and every device has been told the last of its owner's feed and the
/// last word of the rooms that it is in, or time is up: the checker says what is missing. Answers where the rooms stand.
pub async fn settle(
    fleet: &Fleet,
    run: &Run,
    stage: &Stage,
    people: &[Person],
    most: Duration,
) -> anyhow::Result<Vec<RoomAtEnd>> {
    all_is_sent(fleet).await?;
    let feeds = fleet.rows("feeds").await?;
    let head = |user: &str| {
        let channel = format!("user:{user}");
        feeds.iter().find(|feed| feed["channel"] == channel.as_str()).and_then(|feed| feed["seq"].as_u64())
    };
    let has_all = |device: &Device, user: &str| {
        let record = device.record();
        let started_over = record.frames.iter().rposition(|frame| frame["type"] == STARTED_OVER);
        if run.restored.is_some() && started_over.is_none() {
            return false;
        }
        let since = &record.frames[started_over.unwrap_or(0)..];
        let last = since.iter().rev().find_map(|frame| frame["prev"].as_u64().and(frame["seq"].as_u64()));
        // Whoever has started over and was told nothing since had all of it in the snapshot.
        last.is_none() && started_over.is_some() || last >= head(user)
    };
    let everybody = async |has_come: &dyn Fn(&Device, &str) -> bool| {
        let begun = Instant::now();
        let of_one = |person: &Person| person.devices.iter().all(|device| has_come(device, person.user.name()));
        while begun.elapsed() < most && !people.iter().all(of_one) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    // Whoever comes back late says then what they had to say.
    let is_in = |device: &Device| device.record().rooms.wanted().all(|(_, is_in, _)| is_in);
    everybody(&|device, user| has_all(device, user) && is_in(device)).await;
    let ends = last_words(fleet, stage, most).await;
    let stands = |device: &Device| {
        let record = device.record();
        record.rooms.wanted().all(|(room, is_in, position)| is_in && position == ends[room].as_deref())
    };
    everybody(&|device, _| stands(device)).await;
    // What should not come any more would come now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let wanted_by = |room: &str| {
        let devices =
            people.iter().flat_map(|person| person.devices.iter().zip(DEVICES).map(move |device| (person, device)));
        let wanting = devices.filter(|(_, (device, _))| device.record().rooms.wants(room));
        wanting.map(|(person, (_, name))| (person.user.name().to_owned(), name.to_owned())).collect()
    };
    let at_end =
        |(room, position): (&str, _)| RoomAtEnd { room: room.to_owned(), position, wanted_by: wanted_by(room) };
    Ok(ends.into_iter().map(at_end).collect())
}

/// Waits until every message was sent that was to be sent later, or time is up.
async fn all_is_sent(fleet: &Fleet) -> anyhow::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < SENT {
        let later = fleet.rows("scheduled_messages").await?;
        if later.iter().all(|message| message["status"] != "scheduled") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Has somebody say the last word in each room, again until it is acknowledged or `most` has passed, and answers where it stands.
async fn last_words(fleet: &Fleet, stage: &Stage, most: Duration) -> BTreeMap<&'static str, Option<String>> {
    let last = fleet.user("last").device("phone").connect().await;
    let begun = Instant::now();
    let mut ends = BTreeMap::new();
    for room in ROOMS {
        let mut end = None;
        for number in 1.. {
            if end.is_some() || begun.elapsed() > most {
                break;
            }
            let said = Said { who: "last".to_owned(), room: room.to_owned(), key: format!("last-{room}-{number}") };
            let reference = stage.says(&last, said);
            let answer = async {
                loop {
                    let answered =
                        last.record().frames.iter().find(|frame| frame["ref"] == reference.as_str()).cloned();
                    if let Some(answer) = answered {
                        return answer;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            let answer = tokio::time::timeout(ANSWERED, answer).await.unwrap_or_default();
            end = answer["data"]["position"].as_str().map(str::to_owned);
            if end.is_none() {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
        ends.insert(room, end);
    }
    ends
}

/// Asks who is here, until it is right or `most` has passed: first everybody is, and then every second one goes away. Of what is not
/// right it is written down what Redis keeps of that.
pub async fn who_is_here(journal: &Journal, fleet: &Fleet, people: Vec<Person>, most: Duration) -> anyhow::Result<()> {
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
            if is_right || begun.elapsed() > most {
                return here;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let mut here = said(&|_| true).await;
    let stay: Vec<Person> =
        people.into_iter().enumerate().filter(|(number, _)| number % 2 == 0).map(|(_, person)| person).collect();
    here.extend(said(&|number| number % 2 == 0).await);
    if here.iter().any(|here| here.is_connected != (here.state == "online")) {
        journal.write("presence.jsonl", fleet.redis.kept(&PRESENCE).await?)?;
    }
    drop(stay);
    journal.write("here.jsonl", here)
}

/// Writes down what every pod and Redis has printed.
pub fn keep_logs(folder: &Path, fleet: &mut Fleet) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("redis.log"), fleet.redis.printed())?;
    for pod in fleet.pods() {
        std::fs::write(folder.join(format!("{}.log", pod.name())), pod.printed())?;
    }
    Ok(())
}

/// Writes down everything that the checker may know; `most` is how long what people ask for may be refused.
pub async fn write(
    journal: &Journal,
    fleet: &Fleet,
    run: &Run,
    stage: &Stage,
    people: &[Person],
    weights: &[Memory],
    most: Duration,
) -> anyhow::Result<()> {
    journal.write("run.jsonl", [run])?;
    journal.write("memory.jsonl", weights)?;
    journal.write("deeds.jsonl", stage.deeds.lock().expect("nobody panics while holding it").iter())?;
    journal.write("said.jsonl", stage.said.lock().expect("nobody panics while holding it").iter())?;
    for person in people {
        for (device, name) in person.devices.iter().zip(DEVICES) {
            let frames = &device.record().frames;
            journal.write(&format!("devices/{}.{name}.jsonl", person.user.name()), frames)?;
        }
    }
    for table in ["messages", "conversation_participants", "entries", "feeds", "scheduled_messages", "unsent_messages"]
    {
        journal.write(&format!("{table}.jsonl"), fleet.rows(table).await?)?;
    }
    let mut verified = Vec::new();
    for person in people {
        verified.push(what_is_told(&person.user, most).await?);
    }
    journal.write("verified.jsonl", verified)
}

/// What somebody is told of their counts and conversations when they ask. `most` is how long they ask for what is refused.
async fn what_is_told(user: &User, most: Duration) -> anyhow::Result<Verified> {
    let mut refused = Vec::new();
    let mut ask = async |path| {
        let answer = match user.tries(Method::GET, path, &Value::Null, most).await {
            Ok(answer) => answer.ok_or_else(|| format!("GET {path}: it is not there")),
            Err(complaint) => Err(complaint),
        };
        answer.map_err(|complaint| refused.push(complaint)).ok()
    };
    let answer = ask("/api/v1/unread/verify").await;
    let mut listed = Vec::new();
    if let Some(mine) = ask("/api/v1/messages/conversations?limit=100").await {
        for conversation in mine["items"].as_array().context("a list has items")? {
            let id = conversation["id"].as_str().context("a conversation has an id")?.to_owned();
            let messages = user.reads_all_of(&id).await;
            listed.push((id, messages.into_iter().map(|message| message.id).collect()));
        }
    }
    Ok(Verified { user: user.name().to_owned(), answer, listed, refused })
}
