//! Where delivery starts for a device that connects.
//!
//! Pure: the stores read what stands where, this judges, and the stores note the outcome. The rules are those of
//! ARCHITECTURE.md 4.4.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::access::Caller;
use shared::channel::Role;
use shared::cursor::{Cursor, Positions};
use shared::ids::{Epoch, Seq};
use shared::protocol::ErrorCode;
use shared::sabotage;
use shared::upstream::{Acknowledgement, Arrival, ResyncReason, Verdict};

use super::rows::{epoch, number, positions, seq};

/// Entries that may wait for a device that brings no cursor. More are loaded faster as a snapshot.
const MOST_WAITING: u64 = 1_000;

/// What the store knows about one arrival: the three feeds, and what the device and the user acknowledged.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct StandingRow {
    pub(super) epoch: i64,
    pub(super) user_head: i64,
    pub(super) role_head: i64,
    pub(super) all_head: i64,
    pub(super) user_floor: i64,
    pub(super) role_floor: i64,
    pub(super) all_floor: i64,
    /// What the device acknowledged, or else the user; nothing for a person never seen.
    pub(super) stored_epoch: Option<i64>,
    pub(super) stored_role: Option<String>,
    pub(super) stored_user_seq: Option<i64>,
    pub(super) stored_role_seq: Option<i64>,
    pub(super) stored_all_seq: Option<i64>,
    /// Whether the user as a whole has a position: whether they were ever seen.
    pub(super) user_seen: bool,
    /// Whether they may not connect for now.
    pub(super) is_banned: bool,
    /// Whether nothing is left of them.
    pub(super) is_erased: bool,
}

impl StandingRow {
    fn heads(&self) -> Positions {
        positions(self.user_head, self.role_head, self.all_head)
    }

    fn floors(&self) -> Positions {
        positions(self.user_floor, self.role_floor, self.all_floor)
    }

    /// Where the device, or else the user, stands; `None` for a person never seen.
    fn stored(&self, role: Role) -> Option<(Epoch, Positions)> {
        let (Some(life), Some(user), Some(role_seq), Some(all)) =
            (self.stored_epoch, self.stored_user_seq, self.stored_role_seq, self.stored_all_seq)
        else {
            return None;
        };
        let mut stored = positions(user, role_seq, all);
        if self.stored_role.as_deref() != Some(role.as_str()) {
            // The number counts in the feed of a role that the user no longer has.
            stored.role = seq(self.role_head);
        }
        if stored.user == Seq::ZERO {
            // Nothing was ever acknowledged: everything that is kept is waiting.
            stored.user = seq(self.user_floor);
        }
        Some((epoch(life), stored))
    }
}

/// Says where delivery starts, or that it cannot go on from where the device stands.
pub(super) fn judge(arrival: &Arrival, standing: &StandingRow) -> Verdict {
    if standing.is_erased {
        return Verdict::Denied { code: ErrorCode::Forbidden };
    }
    if standing.is_banned {
        return Verdict::Denied { code: ErrorCode::Banned };
    }
    let (today, heads) = (epoch(standing.epoch), standing.heads());
    let resync = |reason| Verdict::Resync { epoch: today, heads, reason };
    let (start, resumed) = match arrival.since.as_deref() {
        Some("now") => (heads, false),
        Some(text) => {
            let Ok(cursor) = text.parse::<Cursor>() else { return Verdict::Denied { code: ErrorCode::BadRequest } };
            if cursor.owner != arrival.caller.user || cursor.role != arrival.caller.role {
                return resync(ResyncReason::Owner);
            }
            if cursor.epoch != today && !sabotage::goes_wrong("accepts_epochs") {
                return resync(ResyncReason::Epoch);
            }
            (cursor.positions, true)
        }
        None => match standing.stored(arrival.caller.role) {
            Some((life, _)) if life != today => return resync(ResyncReason::Epoch),
            Some((_, stored)) => (stored, true),
            None => (Positions { user: seq(standing.user_floor), ..heads }, false),
        },
    };
    if !start.within(&heads) {
        return resync(ResyncReason::Ahead);
    }
    if !standing.floors().within(&start) {
        return resync(ResyncReason::Retention);
    }
    let waiting = (heads.user.0 - start.user.0) + (heads.role.0 - start.role.0) + (heads.all.0 - start.all.0);
    if arrival.since.is_none() && waiting > MOST_WAITING {
        return resync(ResyncReason::TooMuch);
    }
    Verdict::Arrived { epoch: today, start, heads, resumed }
}

/// A position to be kept, as JSON for the databases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PositionRow {
    user_id: String,
    /// Empty for the user as a whole.
    device_id: String,
    epoch: i64,
    role: Role,
    user_seq: i64,
    role_seq: i64,
    all_seq: i64,
}

impl PositionRow {
    fn new(user: &str, device: &str, life: Epoch, role: Role, at: Positions) -> Self {
        Self {
            user_id: user.to_owned(),
            device_id: device.to_owned(),
            epoch: life.0.cast_signed(),
            role,
            user_seq: number(at.user),
            role_seq: number(at.role),
            all_seq: number(at.all),
        }
    }
}

/// What a batch of arrivals leaves behind.
#[derive(Debug, Default)]
pub(super) struct Traces {
    /// Where devices start; only forwards.
    pub(super) starts: Vec<PositionRow>,
    /// Where users as a whole start who were never seen; only if they have no position yet.
    pub(super) firsts: Vec<PositionRow>,
    /// Who was seen.
    pub(super) users: Vec<SeenRow>,
}

/// A user who was seen with a token, as JSON for the databases.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SeenRow {
    id: String,
    role: Role,
    name: Option<String>,
}

impl From<&Caller> for SeenRow {
    fn from(caller: &Caller) -> Self {
        Self { id: caller.user.to_string(), role: caller.role, name: caller.name.clone() }
    }
}

/// What to keep of arrivals that were judged so. Each user and device comes once and in one order, so that two pods that note
/// the same people do not lock each other out.
pub(super) fn traces(arrivals: &[Arrival], standings: &[StandingRow], verdicts: &[Verdict]) -> Traces {
    let mut starts = BTreeMap::new();
    let mut firsts = BTreeMap::new();
    let mut users = BTreeMap::new();
    for ((arrival, standing), verdict) in arrivals.iter().zip(standings).zip(verdicts) {
        let (user, role) = (arrival.caller.user.as_str(), arrival.caller.role);
        users.insert(user, SeenRow::from(&arrival.caller));
        let Verdict::Arrived { epoch, start, heads, .. } = verdict else { continue };
        if let Some(device) = &arrival.device_id {
            starts.insert((user, device.as_str()), PositionRow::new(user, device.as_str(), *epoch, role, *start));
        }
        if !standing.user_seen {
            let first = Positions { user: seq(standing.user_floor), ..*heads };
            firsts.insert(user, PositionRow::new(user, "", *epoch, role, first));
        }
    }
    Traces {
        starts: starts.into_values().collect(),
        firsts: firsts.into_values().collect(),
        users: users.into_values().collect(),
    }
}

/// What to keep of acknowledgements: the newest of each device, and of each user what an unfiltered door said.
pub(super) fn acknowledged(acknowledgements: &[Acknowledgement]) -> Vec<PositionRow> {
    // The epoch is part of the key: the store ignores all but today's.
    let mut kept: BTreeMap<(&str, &str, u64), PositionRow> = BTreeMap::new();
    for acknowledgement in acknowledgements {
        let Acknowledgement { user, role, device_id, epoch, positions, unfiltered } = acknowledgement;
        let device = device_id.as_ref().map(|device| device.as_str());
        for owner in device.into_iter().chain(unfiltered.then_some("")) {
            let row = PositionRow::new(user.as_str(), owner, *epoch, *role, *positions);
            let key = (user.as_str(), owner, epoch.0);
            match kept.get_mut(&key) {
                Some(known) if known.role == row.role => {
                    known.user_seq = known.user_seq.max(row.user_seq);
                    known.role_seq = known.role_seq.max(row.role_seq);
                    known.all_seq = known.all_seq.max(row.all_seq);
                }
                _ => drop(kept.insert(key, row)),
            }
        }
    }
    kept.into_values().collect()
}
