//! What may be asked of the store at all, before it looks at what it keeps.
//!
//! Both stores ask here first, so that a refusal reads the same whatever the database.

use std::collections::BTreeSet;

use shared::access::Caller;
use shared::channel::Role;
use shared::ids::UserId;

use super::{ConversationPage, StoreError};
use crate::model::{ConversationChange, ConversationDraft, ConversationType, MessageType, ParticipantRole, may_create};

/// People in one conversation, whoever starts it included. A larger audience is a room.
pub(super) const MOST_PARTICIPANTS: u64 = 250;

/// Attachments of one person that no message has brought yet.
pub(super) const MOST_UNATTACHED: u32 = 100;
/// Hours that an attachment waits for its message.
pub(super) const UNATTACHED_HOURS: u32 = 24;
/// One person has enough attachments that wait for a message.
pub(super) const TOO_MANY_UNATTACHED: StoreError =
    StoreError::LimitExceeded { what: "attachments that no message has", limit: MOST_UNATTACHED as u64 };

/// Who is to be in a new conversation, the caller first.
pub(super) struct Cast {
    /// Everyone else, in order, each once.
    pub(super) others: Vec<UserId>,
    /// What stands for the pair, if the conversation is the only one of its two people.
    pub(super) direct_pair: Option<String>,
}

/// Whether `caller` may start such a conversation, and with whom.
pub(super) fn cast(caller: &Caller, draft: &ConversationDraft) -> Result<Cast, StoreError> {
    if !may_create(caller.role, draft.kind) {
        return Err(StoreError::Forbidden("only staff and services may start a conversation of this type"));
    }
    let others: BTreeSet<_> = draft.participants.iter().filter(|user| **user != caller.user).cloned().collect();
    if others.len() as u64 + 1 > MOST_PARTICIPANTS {
        return Err(TOO_MANY_PARTICIPANTS);
    }
    let others: Vec<UserId> = others.into_iter().collect();
    let direct_pair = match (draft.kind, others.as_slice()) {
        (ConversationType::Direct, [other]) => {
            let (low, high) = if caller.user < *other { (&caller.user, other) } else { (other, &caller.user) };
            // No id contains a space.
            Some(format!("{low} {high}"))
        }
        (ConversationType::Direct, _) => {
            return Err(StoreError::Forbidden("a direct conversation has exactly two people"));
        }
        _ => None,
    };
    Ok(Cast { others, direct_pair })
}

/// Whether `caller` may send a message of such a type anywhere.
pub(super) fn may_send(caller: &Caller, message_type: MessageType) -> Result<(), StoreError> {
    match message_type {
        MessageType::System | MessageType::Automated if !caller.role.is_trusted() => {
            Err(StoreError::Forbidden("only staff and services may send messages of this type"))
        }
        _ => Ok(()),
    }
}

/// Different reactions that a message takes.
pub(super) const MOST_REACTIONS: u64 = 50;

/// Former texts of a message that are shown: the newest.
pub(super) const MOST_VERSIONS: i64 = 100;

/// Why nobody else comes into a conversation.
pub(super) const TOO_MANY_PARTICIPANTS: StoreError =
    StoreError::LimitExceeded { what: "participants in a conversation", limit: MOST_PARTICIPANTS };

/// Why somebody who only takes part does not manage a conversation.
pub(super) const NOT_A_MANAGER: StoreError =
    StoreError::Forbidden("only an owner of the conversation, its staff and staff at large may do this");

/// Why nobody looks after a conversation.
pub(super) const NOT_LOOKED_AFTER: StoreError =
    StoreError::Forbidden("only a guest's conversation with the staff is looked after by one of them");

/// Why who is not of the staff decides nothing about who looks after a conversation.
pub(super) const NOT_OF_THE_STAFF: StoreError =
    StoreError::Forbidden("only those who work here decide who looks after a conversation");

/// Whether `caller` may list these.
pub(super) fn may_list(caller: &Caller, page: &ConversationPage) -> Result<(), StoreError> {
    match page.everybodys && !caller.role.is_trusted() {
        true => Err(StoreError::Forbidden("only staff and services see everybody's conversations")),
        false => Ok(()),
    }
}

/// Whether `caller` may make such a change of any conversation.
pub(super) fn may_change(caller: &Caller, change: &ConversationChange) -> Result<(), StoreError> {
    match change {
        // A service looks after nothing itself.
        ConversationChange::Claim if !caller.role.is_staff() => Err(NOT_OF_THE_STAFF),
        ConversationChange::Assign(_) | ConversationChange::Release if !caller.role.is_trusted() => {
            Err(NOT_OF_THE_STAFF)
        }
        _ => Ok(()),
    }
}

/// Whether a new conversation waits for one of the staff: a guest's with them that names none of them.
pub(super) fn waits_for_staff<'a>(
    caller: &Caller,
    kind: ConversationType,
    mut others: impl Iterator<Item = &'a ParticipantRole>,
) -> bool {
    kind == ConversationType::GuestStaff
        && !caller.role.is_staff()
        && others.all(|role| *role != ParticipantRole::Staff)
}

/// Why a `direct` conversation keeps its people.
pub(super) const FIXED_PARTICIPANTS: StoreError = StoreError::Forbidden("a direct conversation keeps its two people");

/// Why a message that is somebody else's is not changed.
pub(super) const NOT_THE_SENDER: StoreError = StoreError::Forbidden("only its sender may change a message");

/// Why one more different reaction is not taken.
pub(super) const TOO_MANY_REACTIONS: StoreError =
    StoreError::LimitExceeded { what: "different reactions to a message", limit: MOST_REACTIONS };

/// Others at most who are told what a service says of a person: as many as a message reaches.
pub(super) const MOST_TOLD: u64 = MOST_PARTICIPANTS;

/// People whom one person blocks.
pub(super) const MOST_BLOCKS: u64 = 1_000;

/// Why one more is not blocked.
pub(super) const TOO_MANY_BLOCKS: StoreError =
    StoreError::LimitExceeded { what: "people blocked by one person", limit: MOST_BLOCKS };

/// Whether `caller` may see and decide reports, and ban people.
pub(super) fn may_moderate(caller: &Caller) -> Result<(), StoreError> {
    if caller.role.is_trusted() { Ok(()) } else { Err(StoreError::Forbidden("only staff and services may moderate")) }
}

/// Whether `caller` may ban those who work here as well.
pub(super) fn is_admin(caller: &Caller) -> bool {
    matches!(caller.role, Role::Admin | Role::Service)
}

/// Whether `caller` may decide about somebody's data and tokens: their own, and admins and services everybody's.
pub(super) fn may_decide_about(caller: &Caller, about: &UserId) -> Result<(), StoreError> {
    if caller.user == *about || is_admin(caller) {
        Ok(())
    } else {
        Err(StoreError::Forbidden("only they themselves, admins and services may"))
    }
}

/// Single tokens of one person that are revoked.
pub(super) const MOST_REVOKED_TOKENS: i64 = 100;

/// Why one more is not.
pub(super) const TOO_MANY_REVOKED_TOKENS: StoreError = StoreError::LimitExceeded {
    what: "revoked tokens of one person: revoke all of theirs",
    limit: MOST_REVOKED_TOKENS.unsigned_abs(),
};

/// Why not everybody sees what was revoked.
pub(super) const NOT_TO_BE_SEEN: StoreError = StoreError::Forbidden("only admins and services see what was revoked");

/// Hours that a revocation stays after its end, should a pod be started whose clock is late.
pub(super) const OVER_HOURS: u32 = 1;

/// How long a worker has a job before another one goes on with it, in seconds.
pub(super) const JOB_LEASE: u32 = 30;
/// Messages and reactions that one step of erasing takes away.
pub(super) const ERASED_AT_ONCE: u32 = 20;
/// Numbers of a conversation that one step looks through.
pub(super) const LOOKED_THROUGH: u32 = 1_000;

/// Numbers of a conversation whose messages are exported at once.
pub(super) const EXPORTED_AT_ONCE: u32 = 200;

/// Why staff are not banned by each other.
pub(super) const NOT_AN_ADMIN: StoreError =
    StoreError::Forbidden("only admins and services ban those who are not guests");

/// Why a message is not reported by its sender.
pub(super) const OWN_MESSAGE: StoreError = StoreError::Forbidden("nobody reports a message of their own");

/// Whether `caller` may say what is known of people.
pub(super) fn may_put_users(caller: &Caller) -> Result<(), StoreError> {
    match caller.role {
        Role::Service => Ok(()),
        _ => Err(StoreError::Forbidden("only services say what is known of people")),
    }
}

/// Messages that a conversation keeps at hand.
pub(super) const MOST_PINS: i64 = 50;

/// Why one more pin is not set.
pub(super) const TOO_MANY_PINS: StoreError =
    StoreError::LimitExceeded { what: "pinned messages in a conversation", limit: MOST_PINS.unsigned_abs() };

/// Why what was forwarded keeps its text.
pub(super) const FORWARDS_STAY: StoreError = StoreError::Forbidden("a forwarded message keeps what it says");

/// Messages of one person that wait for their time, or were refused when it came.
pub(super) const MOST_SCHEDULED: i64 = 100;

/// One person has scheduled enough messages.
pub(super) const TOO_MANY_SCHEDULED: StoreError =
    StoreError::LimitExceeded { what: "scheduled messages", limit: MOST_SCHEDULED.unsigned_abs() };

/// Why somebody need not say that they have seen a message.
pub(super) const NOT_ASKED: StoreError =
    StoreError::Forbidden("only a message that asks for it is acknowledged, and not by its sender");

/// What someone who joins a conversation is in it, by the role they were last seen with.
pub(super) fn participant_role(known_as: Option<&str>) -> ParticipantRole {
    match known_as {
        Some("staff" | "admin") => ParticipantRole::Staff,
        _ => ParticipantRole::Participant,
    }
}
