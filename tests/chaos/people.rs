//! Scripted people: each does one thing after the other, drawn from the seed, and repeats it under the same key until it is
//! answered. Their devices go away and come back, sleep, and vanish.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use fleet::client::{Device, User};
use fleet::journal::{Deed, Outcome, Said, What};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};

/// How long somebody repeats what is not answered, once the faults are over.
const PATIENCE: Duration = Duration::from_secs(60);

/// The rooms there are.
pub const ROOMS: [&str; 4] = ["tour_1", "tour_2", "tour_3", "tour_4"];

/// Of how many things that somebody does one is done in a room, if nothing else is asked for.
pub const NOW_AND_THEN: u32 = 12;

/// What everybody knows: the conversations, who is in them, and the last messages of each.
#[derive(Default)]
pub struct World {
    pub conversations: Vec<Place>,
}

/// A conversation.
pub struct Place {
    pub id: String,
    /// Who takes others out of it and brings them back: nobody where two talk directly.
    pub owner: Option<String>,
    pub members: Vec<String>,
    /// Who is out of it for now, by their owner's word.
    pub away: Vec<String>,
    /// Which of two who talk directly blocks the other one.
    pub blocked_by: Vec<String>,
    /// The last messages: id, number and sender.
    pub recent: Vec<(String, u64, String)>,
}

/// One person with their devices.
pub struct Person {
    pub user: User,
    pub devices: Vec<Device>,
    dice: StdRng,
    deeds: u64,
    words: u64,
}

/// What all of them share.
pub struct Stage {
    pub world: Mutex<World>,
    pub deeds: Mutex<Vec<Deed>>,
    /// What was said in rooms.
    pub said: Mutex<Vec<Said>>,
    pub begun: Instant,
    pub over: AtomicBool,
    /// How long it goes on, as far as that is known.
    pub length: Duration,
    /// Milliseconds between two deeds of one person, at most.
    pub rest: u64,
    /// Of how many things that somebody does one is done in a room.
    pub rooms_once_in: u32,
    /// Whether devices sleep, so that they read nothing and answer nothing, and vanish without a word.
    pub devices_fail: bool,
}

impl Stage {
    /// A stage on which nothing was done yet.
    pub fn of(world: World, length: Duration, rest: u64, rooms_once_in: u32, devices_fail: bool) -> Self {
        let (world, over, begun) = (Mutex::new(world), AtomicBool::new(false), Instant::now());
        let (deeds, said) = (Mutex::default(), Mutex::default());
        Self { world, deeds, said, begun, over, length, rest, rooms_once_in, devices_fail }
    }

    /// Has a device say something in a room, once: whoever is not answered does not know. Returns the `ref` of the answer.
    pub fn says(&self, device: &Device, said: Said) -> String {
        let reference = format!("say {}", said.key);
        let data = json!({ "key": said.key });
        device.sends(&json!({ "action": "message", "room": said.room, "ref": reference, "data": data }));
        self.said.lock().expect("nobody panics while holding it").push(said);
        reference
    }

    fn note(&self, deed: Deed) {
        self.deeds.lock().expect("nobody panics while holding it").push(deed);
    }

    /// Microseconds since it all began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// How many messages were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        let deeds = self.deeds.lock().expect("nobody panics while holding it");
        deeds.iter().filter(|deed| deed.made().is_some()).count()
    }
}

impl Place {
    /// A conversation in which nothing was said yet.
    pub fn new(id: &str, owner: Option<&str>, members: &[&User]) -> Self {
        let members = members.iter().map(|user| user.name().to_owned()).collect();
        let (id, owner) = (id.to_owned(), owner.map(str::to_owned));
        Self { id, owner, members, away: Vec::new(), blocked_by: Vec::new(), recent: Vec::new() }
    }
}

impl Person {
    pub fn new(user: User, devices: Vec<Device>, seed: u64) -> Self {
        for device in &devices {
            ROOMS.iter().for_each(|room| device.wants_room(room, true));
        }
        Self { user, devices, dice: StdRng::seed_from_u64(seed), deeds: 0, words: 0 }
    }

    /// Does one thing after the other until the run is over, and leaves every device connected.
    pub async fn live(mut self, stage: Arc<Stage>) -> Self {
        while !stage.over.load(Ordering::Relaxed) {
            match self.dice.random_range(0..80) {
                _ if self.dice.random_range(0..stage.rooms_once_in) == 0 => self.minds_rooms(&stage),
                0 | 1 => self.turns_a_device_off_or_on(),
                2 if stage.devices_fail => self.has_a_device_fail(),
                _ => {
                    let Some(what) = self.decides(&stage) else { continue };
                    self.does(&stage, what).await;
                }
            }
            let rest = self.dice.random_range(0..stage.rest);
            tokio::time::sleep(Duration::from_millis(rest)).await;
        }
        for device in &self.devices {
            device.wants(true);
            device.stalls(false);
        }
        self
    }

    fn turns_a_device_off_or_on(&mut self) {
        let chosen = self.dice.random_range(0..self.devices.len());
        let on = self.dice.random_range(0..3) > 0;
        self.devices[chosen].wants(on);
    }

    fn has_a_device_fail(&mut self) {
        let device = &self.devices[self.dice.random_range(0..self.devices.len())];
        match self.dice.random_range(0..4) {
            0 => device.vanishes(),
            1 => device.stalls(true),
            _ => device.stalls(false),
        }
    }

    /// Comes into a room or leaves it, or says something in one: as often where it is not as where it is, for whoever may be in it may.
    fn minds_rooms(&mut self, stage: &Stage) {
        let device = &self.devices[self.dice.random_range(0..self.devices.len())];
        let room = ROOMS[self.dice.random_range(0..ROOMS.len())];
        let leaves_or_joins = self.dice.random_range(0..4) == 0;
        if leaves_or_joins {
            let is_wanted = device.record().rooms.wants(room);
            return device.wants_room(room, !is_wanted);
        }
        self.words += 1;
        let (who, key) = (self.user.name().to_owned(), format!("{}-{}", self.user.name(), self.words));
        stage.says(device, Said { who, room: room.to_owned(), key });
    }

    /// What to do next, as far as there is something to do.
    fn decides(&mut self, stage: &Stage) -> Option<What> {
        let name = self.user.name().to_owned();
        let world = stage.world.lock().expect("nobody panics while holding it");
        let mine: Vec<&Place> = world.conversations.iter().filter(|place| place.members.contains(&name)).collect();
        let place = *mine.get(self.dice.random_range(0..mine.len().max(1)))?;
        let conversation = place.id.clone();
        let recent = |dice: &mut StdRng, own: bool| {
            let fits = place.recent.iter().filter(|(_, _, sender)| !own || *sender == name).collect::<Vec<_>>();
            fits.get(dice.random_range(0..fits.len().max(1))).map(|(id, seq, _)| (id.clone(), *seq))
        };
        self.deeds += 1;
        let key = format!("{name}-{}", self.deeds);
        Some(match self.dice.random_range(0..100) {
            0..=2 => {
                let elsewhere = mine[self.dice.random_range(0..mine.len())];
                let (message, ..) = elsewhere.recent.get(self.dice.random_range(0..elsewhere.recent.len().max(1)))?;
                What::Forward { conversation, key, message: message.clone() }
            }
            3..=75 => {
                // Of every length, so that frames are of every size.
                let filler = "·".repeat(self.dice.random_range(0..12_usize).pow(2));
                let in_thread = self.dice.random_range(0..6) == 0;
                let thread = recent(&mut self.dice, false).filter(|_| in_thread).map(|(root, _)| root);
                let calls = self.dice.random_range(0..8) == 0;
                What::Send { conversation, text: format!("{key} {filler}"), key, thread, calls }
            }
            76..=77 => {
                let later = Duration::from_millis(self.dice.random_range(2_000..6_000));
                if stage.begun.elapsed() + later > stage.length {
                    // What comes when all have fallen silent would show what had got lost before.
                    return None;
                }
                let at = chrono::DateTime::<chrono::Utc>::from(SystemTime::now() + later).to_rfc3339();
                What::Schedule { conversation, text: format!("{key} later"), key, at }
            }
            78 => What::Draft { conversation, text: format!("{key} not yet") },
            79..=83 => What::Edit { message: recent(&mut self.dice, true)?.0, text: format!("{key} edited") },
            84..=88 => {
                let back = self.dice.random_range(0..3) == 0;
                What::React { message: recent(&mut self.dice, false)?.0, back }
            }
            89 => What::Delete { message: recent(&mut self.dice, true)?.0 },
            90..=95 => What::Read { conversation, upto: recent(&mut self.dice, false)?.1 },
            96..=97 => {
                let own = mine.iter().find(|place| place.owner.as_ref() == Some(&name))?;
                let conversation = own.id.clone();
                match own.away.first() {
                    Some(user) => What::Add { conversation, user: user.clone() },
                    None => {
                        let others: Vec<_> = own.members.iter().filter(|member| **member != name).collect();
                        let user = (*others.get(self.dice.random_range(0..others.len().max(1)))?).clone();
                        What::Remove { conversation, user }
                    }
                }
            }
            _ => {
                // One at a time, so that most talk with most.
                let pairs: Vec<_> = mine.iter().filter(|place| place.owner.is_none()).collect();
                let blocked = pairs.iter().find(|place| place.blocked_by.contains(&name));
                let another = pairs.get(self.dice.random_range(0..4 * pairs.len().max(1)));
                let pair = blocked.or(another)?;
                let user = pair.members.iter().find(|member| **member != name)?.clone();
                What::Block { user, back: blocked.is_some() }
            }
        })
    }

    /// Does it, and notes how it ended.
    async fn does(&mut self, stage: &Arc<Stage>, what: What) {
        let who = self.user.name().to_owned();
        // Whoever is taken out may still do things until they hear of it; whoever takes them out does so once.
        let asked_at = stage.now();
        let twice = what.says().is_some() && self.dice.random_range(0..20) == 0;
        let tried = if twice {
            // Whoever is impatient asks again before the first is answered: it must be one message.
            let (first, second) = tokio::join!(attempt(&self.user, stage, &what), attempt(&self.user, stage, &what));
            stage.note(second.of(asked_at, who.clone(), what.clone()));
            first
        } else {
            attempt(&self.user, stage, &what).await
        };
        let deed = tried.of(asked_at, who, what);
        self.remembers(stage, &deed);
        stage.note(deed);
    }

    fn remembers(&self, stage: &Stage, deed: &Deed) {
        let mut world = stage.world.lock().expect("nobody panics while holding it");
        let place = |world: &World, id: &str| -> usize {
            world.conversations.iter().position(|place| place.id == id).expect("deeds are done in conversations")
        };
        match (&deed.what, &deed.outcome) {
            (What::Send { conversation, thread: None, .. }, Outcome::Done { id: Some(id), seq: Some(seq) }) => {
                let place = place(&world, conversation);
                let recent = &mut world.conversations[place].recent;
                recent.push((id.clone(), *seq, deed.who.clone()));
                if recent.len() > 30 {
                    recent.remove(0);
                }
            }
            (What::Add { conversation, user }, Outcome::Done { .. }) => {
                let place = place(&world, conversation);
                world.conversations[place].away.retain(|away| away != user);
                world.conversations[place].members.push(user.clone());
            }
            (What::Remove { conversation, user }, Outcome::Done { .. }) => {
                let place = place(&world, conversation);
                world.conversations[place].members.retain(|member| member != user);
                world.conversations[place].away.push(user.clone());
            }
            (What::Block { user, back }, Outcome::Done { .. }) => {
                let is_theirs = |place: &&mut Place| {
                    place.owner.is_none() && place.members.contains(user) && place.members.contains(&deed.who)
                };
                for place in world.conversations.iter_mut().filter(is_theirs) {
                    place.blocked_by.retain(|by| *by != deed.who);
                    if !back {
                        place.blocked_by.push(deed.who.clone());
                    }
                }
            }
            _ => {}
        }
    }
}

/// What came of asking.
struct Tried {
    answered_at: u64,
    outcome: Outcome,
    attempts: u32,
    failure: Option<String>,
}

impl Tried {
    fn of(self, asked_at: u64, who: String, what: What) -> Deed {
        let Self { answered_at, outcome, attempts, failure } = self;
        Deed { asked_at, answered_at, who, what, attempts, failure, outcome }
    }
}

/// Asks until it is answered for good.
async fn attempt(user: &User, stage: &Stage, what: &What) -> Tried {
    let mut over: Option<Instant> = None;
    let (mut attempts, mut failure) = (0, None);
    loop {
        attempts += 1;
        match once(user, what).await {
            Ok(outcome) => return Tried { answered_at: stage.now(), outcome, attempts, failure },
            Err(why) => failure = Some(why),
        }
        if over.is_some_and(|over| over.elapsed() > PATIENCE) {
            return Tried { answered_at: stage.now(), outcome: Outcome::Unknown, attempts, failure };
        }
        if stage.over.load(Ordering::Relaxed) {
            over = over.or(Some(Instant::now()));
        }
        let rest = rand::rng().random_range(20..150);
        tokio::time::sleep(Duration::from_millis(rest)).await;
    }
}

/// Asks once; an `Err` says why it has to be asked again.
async fn once(user: &User, what: &What) -> Result<Outcome, String> {
    let messages = "/api/v1/messages/messages";
    let (method, path, body) = match what {
        What::Send { conversation, key, text, thread, calls } => {
            let body = json!({
                "conversation_id": conversation, "client_message_id": key, "message_text": text, "thread_root_id": thread,
                "mentioned_everyone": calls,
            });
            (Method::POST, messages.to_owned(), body)
        }
        What::Schedule { conversation, text, at, .. } => {
            let body = json!({ "conversation_id": conversation, "message_text": text, "send_at": at });
            (Method::POST, "/api/v1/messages/scheduled".to_owned(), body)
        }
        What::Forward { conversation, key, message } => {
            let body = json!({ "conversation_id": conversation, "client_message_id": key });
            (Method::POST, format!("{messages}/{message}/forward"), body)
        }
        What::Draft { conversation, text } => {
            let path = format!("/api/v1/messages/conversations/{conversation}/draft");
            (Method::PUT, path, json!({ "message_text": text }))
        }
        What::Edit { message, text } => {
            (Method::PATCH, format!("{messages}/{message}"), json!({ "message_text": text }))
        }
        What::React { message, back } => {
            let method = if *back { Method::DELETE } else { Method::PUT };
            (method, format!("{messages}/{message}/reactions/x"), Value::Null)
        }
        What::Delete { message } => (Method::DELETE, format!("{messages}/{message}"), Value::Null),
        What::Read { conversation, upto } => {
            let path = format!("/api/v1/messages/conversations/{conversation}/read");
            (Method::PATCH, path, json!({ "up_to_seq": upto }))
        }
        What::Add { conversation, user } => {
            let path = format!("/api/v1/messages/conversations/{conversation}/participants");
            (Method::POST, path, json!({ "user_id": user }))
        }
        What::Remove { conversation, user } => {
            let path = format!("/api/v1/messages/conversations/{conversation}/participants/{user}");
            (Method::DELETE, path, Value::Null)
        }
        What::Block { user, back } => {
            let method = if *back { Method::DELETE } else { Method::PUT };
            (method, format!("/api/v1/users/me/blocks/{user}"), Value::Null)
        }
    };
    let mut request = user.request(method, &path);
    if !body.is_null() {
        request = request.json(&body);
    }
    if let What::Schedule { key, .. } = what {
        request = request.header("idempotency-key", key);
    }
    let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
    let said: Value = serde_json::from_str(&text).unwrap_or_default();
    if status.is_success() {
        let id = said["id"].as_str().map(str::to_owned);
        return Ok(Outcome::Done { id, seq: said["seq"].as_u64() });
    }
    if status.is_server_error() || status.as_u16() == 429 || status.as_u16() == 408 {
        return Err(format!("{status} {text}"));
    }
    let code = said["code"].as_str().unwrap_or_default().to_owned();
    Ok(Outcome::Refused { status: status.as_u16(), code })
}
