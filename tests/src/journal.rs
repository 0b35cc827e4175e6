//! What a run under faults leaves behind: who asked for what and how it ended, what every device was told, and what was kept.
//!
//! The run writes it into a folder, and the checker reads nothing else. Deeds stand in `deeds.jsonl`, the frames of each device in
//! a file of their own, and the rows of the database in one file per table; every line is JSON.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What happens to the fleet in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// Faults.
    Faults,
    /// Nothing.
    Calm,
    /// Every pod is replaced, one after the other.
    Update,
    /// The database is put back to where it was before, and a new epoch begins.
    Restore,
}

/// When the database was put back to where it was before, in microseconds since the run began.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Restored {
    /// When its copy was begun: what was answered before is in it.
    pub copied_at: u64,
    /// When nobody answered any more who knew what is not in the copy.
    pub ended_at: u64,
}

/// What the run was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Decides the faults and what people do.
    pub seed: u64,
    /// How long there were faults.
    pub seconds: u64,
    /// Which Redis it ran on.
    pub redis: String,
    /// What was broken on purpose, to see whether the checker finds it.
    pub sabotage: Option<String>,
    /// What happened to the fleet.
    pub course: Course,
    /// The faults, in order, in words.
    pub faults: Vec<String>,
    /// Those of them that could not happen, and why.
    pub missed: Vec<String>,
    /// When the database was put back, if it was.
    pub restored: Option<Restored>,
    /// Who began in which conversation, by its id; where they are two, they may block each other.
    pub members: Vec<(String, Vec<String>)>,
}

/// Something somebody asked for, repeated until it was answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deed {
    /// When it was first asked for, in microseconds since the run began.
    pub asked_at: u64,
    /// When it was answered.
    pub answered_at: u64,
    /// Who asked.
    pub who: String,
    /// For what.
    pub what: What,
    /// How often.
    pub attempts: u32,
    /// Why it had to be asked for again, the last time.
    pub failure: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
}

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum What {
    /// Say something.
    Send {
        /// Where.
        conversation: String,
        /// The sender's key.
        key: String,
        /// What.
        text: String,
        /// The message in whose thread.
        thread: Option<String>,
        /// Whether it calls everybody.
        calls: bool,
    },
    /// Say something later.
    Schedule {
        /// Where.
        conversation: String,
        /// The sender's key.
        key: String,
        /// What.
        text: String,
        /// When.
        at: String,
    },
    /// Say again elsewhere what a message says.
    Forward {
        /// Where.
        conversation: String,
        /// The sender's key.
        key: String,
        /// The message.
        message: String,
    },
    /// Keep what is not said yet.
    Draft {
        /// Where.
        conversation: String,
        /// What.
        text: String,
    },
    /// Say something else.
    Edit {
        /// The message.
        message: String,
        /// What.
        text: String,
    },
    /// React to a message, or take that back.
    React {
        /// The message.
        message: String,
        /// Whether it is taken back.
        back: bool,
    },
    /// Delete a message for everyone.
    Delete {
        /// The message.
        message: String,
    },
    /// Mark a conversation as read.
    Read {
        /// Which.
        conversation: String,
        /// Up to which number.
        upto: u64,
    },
    /// Bring somebody into a conversation.
    Add {
        /// Which.
        conversation: String,
        /// Whom.
        user: String,
    },
    /// Take somebody out of a conversation.
    Remove {
        /// Which.
        conversation: String,
        /// Whom.
        user: String,
    },
    /// Block somebody, or stop blocking them: between the two of them nobody says anything meanwhile.
    Block {
        /// Whom.
        user: String,
        /// Whether it is taken back.
        back: bool,
    },
}

impl What {
    /// Where something is said at once, and under which key.
    #[must_use]
    pub fn says(&self) -> Option<(&str, &str)> {
        match self {
            Self::Send { conversation, key, .. } | Self::Forward { conversation, key, .. } => Some((conversation, key)),
            _ => None,
        }
    }
}

impl Deed {
    /// The id and the number of the message that was made, if that was acknowledged.
    #[must_use]
    pub fn made(&self) -> Option<(&str, u64)> {
        match (self.what.says(), &self.outcome) {
            (Some(_), Outcome::Done { id: Some(id), seq: Some(seq) }) => Some((id, *seq)),
            _ => None,
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum Outcome {
    /// It was acknowledged; of messages with their id and number.
    Done {
        /// The message's id.
        id: Option<String>,
        /// The message's number.
        seq: Option<u64>,
    },
    /// It was refused for good.
    Refused {
        /// The status.
        status: u16,
        /// The code of the problem.
        code: String,
    },
    /// It was never answered: it may have happened.
    Unknown,
}

/// Something that somebody said in a room, once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Said {
    /// Who.
    pub who: String,
    /// Where.
    pub room: String,
    /// What.
    pub key: String,
}

/// A room at the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RoomAtEnd {
    /// Which.
    pub room: String,
    /// Where its last word stands; none where nobody could say one.
    pub position: Option<String>,
    /// The devices that want to be in it: whose, and which one.
    pub wanted_by: Vec<(String, String)>,
}

/// What a person was told when they had their counts compared at the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verified {
    /// Who.
    pub user: String,
    /// The answer of `GET /api/v1/unread/verify`, unless it was refused.
    pub answer: Option<Value>,
    /// Their conversations with all messages that the api lists: ids in order.
    pub listed: Vec<(String, Vec<String>)>,
    /// What they asked for and were not given, and what was said instead.
    pub refused: Vec<String>,
}

/// Whether a person is said to be here at the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Here {
    /// Who.
    pub user: String,
    /// Whether a device of theirs is connected.
    pub is_connected: bool,
    /// What the api says of them.
    pub state: String,
}

/// How much a gateway held at a moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memory {
    /// Which gateway.
    pub pod: String,
    /// How much, in KiB, without what its program takes up by itself.
    pub kib: u64,
}

/// A folder with what a run leaves behind.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
}

impl Journal {
    /// The journal in a folder.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Writes a file with these lines.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write<T: Serialize>(&self, name: &str, lines: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        let mut file = BufWriter::new(File::create(&path).with_context(|| path.display().to_string())?);
        for line in lines {
            serde_json::to_writer(&mut file, &line)?;
            file.write_all(b"\n")?;
        }
        Ok(file.flush()?)
    }

    /// Reads a file of lines.
    ///
    /// # Errors
    ///
    /// When it is not there, or a line is something else.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Vec<T>> {
        let path = self.folder.join(name);
        let file = BufReader::new(File::open(&path).with_context(|| path.display().to_string())?);
        let lines = file.lines().map(|line| Ok(serde_json::from_str(&line?)?));
        lines.collect::<anyhow::Result<_>>().with_context(|| path.display().to_string())
    }

    /// The devices, by the names of their files: whose, which one, and the file.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub fn devices(&self) -> anyhow::Result<Vec<(String, String, String)>> {
        let mut devices = Vec::new();
        for entry in std::fs::read_dir(self.folder.join("devices"))? {
            let file = entry?.file_name().into_string().unwrap_or_default();
            let (user, device) =
                file.trim_end_matches(".jsonl").split_once('.').context("a device's file is named `user.device`")?;
            devices.push((user.to_owned(), device.to_owned(), format!("devices/{file}")));
        }
        devices.sort();
        Ok(devices)
    }
}
