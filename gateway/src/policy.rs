//! Which rooms there are, and who may do what in them.
//!
//! A room belongs to the first namespace whose pattern fits its name; a room of no namespace does not exist.

use std::time::Duration;

use shared::access::Caller;
use shared::config::{Value, choice};
use shared::history::Retention;
use shared::ids::RoomName;

/// Most publishes a room may remember: all of them are sent to one who joins.
const MOST_ENTRIES: u32 = 1_000;

/// Who may do something in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Nobody.
    Nobody,
    /// Whoever has a valid token.
    Anyone,
    /// Staff, admins and services.
    Staff,
    /// Services only.
    Service,
    /// The participants of the conversation that the room's name ends with, and staff. The api decides.
    Participants,
    /// Whoever shows a token whose `room` claim is the room's name.
    Invited,
}

/// A namespace of rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// A room name, where one `*` at the end stands for any rest.
    pub pattern: String,
    /// Who may hear the room.
    pub join: Who,
    /// Who may publish in it.
    pub publish: Who,
    /// What the rooms remember, if they do.
    pub history: Option<Retention>,
}

/// What the rules say, as far as the gateway can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// Yes.
    Allowed,
    /// No.
    Denied,
    /// The api knows.
    AskApi,
    /// With the right token.
    NeedsInvitation,
}

impl Namespace {
    /// The namespace of a room.
    #[must_use]
    pub fn of<'a>(namespaces: &'a [Self], room: &RoomName) -> Option<&'a Self> {
        namespaces.iter().find(|namespace| namespace.fits(room.as_str()))
    }

    fn fits(&self, room: &str) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(prefix) => room.starts_with(prefix) && room.len() > prefix.len(),
            None => room == self.pattern,
        }
    }
}

impl Value for Namespace {
    const FORM: &'static str =
        "a pattern, who may join, who may publish, and perhaps entries/time, with spaces between";

    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (pattern, join, publish, history) = match fields.as_slice() {
            [pattern, join, publish] => (pattern, join, publish, None),
            [pattern, join, publish, history] => (pattern, join, publish, Some(history)),
            _ => return None,
        };
        let name = pattern.strip_suffix('*').unwrap_or(pattern);
        let is_name = name.is_empty() || name.parse::<RoomName>().is_ok();
        let history = match history {
            Some(history) => Some(retention(history)?),
            None => None,
        };
        let (join, publish) = (choice(WHO, join)?, choice(WHO, publish)?);
        is_name.then(|| Self { pattern: (*pattern).to_owned(), join, publish, history })
    }

    fn show(&self) -> String {
        let Self { pattern, join, publish, history } = self;
        let name = |who: &Who| WHO.iter().find(|(_, each)| each == who).map_or("", |(name, _)| name);
        let history = history.map(|keep| format!(" {}/{}s", keep.entries, keep.age.as_secs())).unwrap_or_default();
        format!("{pattern} {} {}{history}", name(join), name(publish))
    }
}

const WHO: &[(&str, Who)] = &[
    ("anyone", Who::Anyone),
    ("participants", Who::Participants),
    ("invited", Who::Invited),
    ("staff", Who::Staff),
    ("service", Who::Service),
    ("nobody", Who::Nobody),
];

fn retention(text: &str) -> Option<Retention> {
    let (entries, age) = text.split_once('/')?;
    let keep = Retention { entries: entries.parse().ok()?, age: Duration::parse(age)? };
    (keep.entries > 0 && keep.entries <= MOST_ENTRIES && keep.age >= Duration::from_secs(1)).then_some(keep)
}

impl Who {
    /// What the rule says of `caller`.
    #[must_use]
    pub const fn rule(self, caller: &Caller) -> Ruling {
        use shared::channel::Role;
        let allowed = match self {
            Self::Participants => return Ruling::AskApi,
            Self::Invited => return Ruling::NeedsInvitation,
            Self::Nobody => false,
            Self::Anyone => true,
            Self::Staff => caller.role.is_trusted(),
            Self::Service => matches!(caller.role, Role::Service),
        };
        if allowed { Ruling::Allowed } else { Ruling::Denied }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_belongs_to_the_first_namespace_that_fits() {
        let namespaces = crate::config::GatewaySettings::default().rooms;
        let pattern = |room: &str| {
            let room = room.parse().expect("a room");
            Namespace::of(&namespaces, &room).map(|namespace| namespace.pattern.as_str())
        };
        assert_eq!(pattern("tour_456"), Some("tour_*"));
        assert_eq!(pattern("conversation:7"), Some("conversation:*"));
        assert_eq!(pattern("tour_"), None);
        assert_eq!(pattern("lobby"), None);
    }

    #[test]
    fn a_namespace_is_written_as_it_is_read() {
        for text in ["tour_* anyone anyone 100/3600s", "lobby staff nobody", "* invited service"] {
            assert_eq!(Namespace::parse(text).map(|namespace| namespace.show()).as_deref(), Some(text));
        }
        for text in ["", "tour_*", "a b c", "two* words* anyone", "x* anyone anyone 0/1h", "x anyone anyone 100"] {
            assert_eq!(Namespace::parse(text), None, "{text}");
        }
    }
}
