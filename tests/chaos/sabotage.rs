//! What is broken on purpose, to see whether the checker finds it: functions of the database are replaced by wrong ones, and pods that
//! are built for it do what they are told to do wrong. Nothing of this is in what is released.

use std::time::Duration;

use clap::ValueEnum;
use fleet::fleet::Fleet;
use fleet::journal::Course;
use fleet::proxy::Weather;

use crate::people::NOW_AND_THEN;
use crate::schedule::{Fault, Planned};

/// Something that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// Whoever has left a conversation is told what is said there.
    TellsWhoHasLeft,
    /// Now and then an edit is acknowledged and not kept.
    ForgetsEdits,
    /// Now and then somebody's count is one too high.
    CountsTwice,
    /// The sender's key is not looked at: a repeat makes another message.
    IgnoresKeys,
    /// Now and then one of those in a conversation is not told.
    TellsNotEverybody,
    /// Now and then a message is kept with another text than was sent.
    ChangesTexts,
    /// Now and then somebody is told of a message twice.
    TellsTwice,
    /// Now and then two messages change places in somebody's feed.
    SwapsTwo,
    /// Now and then a message is acknowledged and its transaction taken back.
    AcknowledgesUncommitted,
    /// Every second announcement gets lost, and nobody asks how far the feeds are.
    LosesAnnouncements,
    /// What is announced twice is shown twice.
    ShowsTwice,
    /// Now and then a gateway does not show what it has.
    Swallows,
    /// Whoever comes back is told what is new without what was told meanwhile.
    GoesLiveEarly,
    /// Whoever comes into a room is not told what is said while they come in.
    ForgetsBuffering,
    /// Nobody minds that the broker lost something, or asks how far the feeds are.
    IgnoresGaps,
    /// When the broker lost something it is not compared how far the feeds are, and nobody asks.
    SkipsComparing,
    /// Now and then the number of a message is given to the next one as well.
    ReusesNumbers,
    /// A device that stands in another life of the numbering is let in as if it stood in today's.
    AcceptsEpochs,
    /// Now and then devices are not told of an edit.
    TellsNoEdits,
    /// Whoever goes is said to be here.
    KeepsGhosts,
}

/// What has to be done to break something.
enum How {
    /// A stretch of a function of the database is replaced by a wrong one.
    Function(&'static str, &'static str, &'static str),
    /// Statements.
    Statements(&'static str),
    /// Pods that are built for it are told so.
    Told(&'static str),
}

impl Sabotage {
    /// As it is spelled.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// As what the checker must find it.
    pub const fn class(self) -> &'static str {
        match self {
            Self::TellsWhoHasLeft => "leaked",
            Self::ForgetsEdits | Self::AcknowledgesUncommitted => "lost",
            Self::CountsTwice => "drift",
            Self::IgnoresKeys | Self::TellsTwice | Self::ShowsTwice | Self::ReusesNumbers => "duplicate",
            Self::TellsNotEverybody | Self::LosesAnnouncements | Self::Swallows => "unseen",
            Self::GoesLiveEarly | Self::ForgetsBuffering | Self::IgnoresGaps | Self::SkipsComparing => "unseen",
            Self::AcceptsEpochs | Self::TellsNoEdits => "stale",
            Self::KeepsGhosts => "ghost",
            Self::ChangesTexts => "phantom",
            Self::SwapsTwo => "reordered",
        }
    }

    const fn how(self) -> How {
        match self {
            Self::TellsWhoHasLeft => How::Function(
                "carillon_channels_of(uuid)",
                "p.conversation_id = p_conversation and p.left_at is null",
                "p.conversation_id = p_conversation",
            ),
            Self::ForgetsEdits => How::Function(
                EDIT,
                "message_text = p_text, edited_at",
                "message_text = case when random() < 0.5 then m.message_text else p_text end, edited_at",
            ),
            Self::CountsTwice => How::Function(
                SEND,
                "set unread_count = p.unread_count + 1",
                "set unread_count = p.unread_count + 1 + (random() < 0.05)::int",
            ),
            Self::IgnoresKeys => How::Function(SEND, "made is null and p_key is not null", "false"),
            Self::TellsNotEverybody => How::Function(
                "carillon_channels_of(uuid)",
                "and p.left_at is null",
                "and p.left_at is null and random() > 0.01",
            ),
            Self::ChangesTexts => How::Function(
                SEND,
                "place.last_seq + 1, p_caller, p_text,",
                "place.last_seq + 1, p_caller, case when random() < 0.05 then 'x' else p_text end,",
            ),
            Self::TellsTwice => How::Statements(TELL_TWICE),
            Self::SwapsTwo => How::Statements(SWAP_TWO),
            Self::AcknowledgesUncommitted => How::Told("acknowledges_uncommitted=0.05"),
            Self::LosesAnnouncements => How::Told("drops_publishes=0.9,ignores_heads=1"),
            Self::ShowsTwice => How::Told("publishes_twice=0.05,shows_twice=1"),
            Self::Swallows => How::Told("swallows=0.005"),
            Self::GoesLiveEarly => How::Told("goes_live_early=1"),
            Self::ForgetsBuffering => How::Told("forgets_buffering=1"),
            Self::IgnoresGaps => How::Told("ignores_gaps=1,ignores_heads=1"),
            Self::SkipsComparing => How::Told("skips_comparing=1,ignores_heads=1"),
            Self::ReusesNumbers => How::Function(
                SEND,
                "set last_seq = place.last_seq + 1",
                "set last_seq = place.last_seq + (random() > 0.02)::int",
            ),
            Self::AcceptsEpochs => How::Told("accepts_epochs=1"),
            Self::TellsNoEdits => {
                How::Function(EDIT, "carillon_tell_change(changed,", "carillon_tell_change(changed and random() > 0.5,")
            }
            Self::KeepsGhosts => How::Told("keeps_ghosts=1"),
        }
    }

    /// What pods that are built for it are told, if that breaks it.
    pub const fn wrongs(self) -> Option<&'static str> {
        match self.how() {
            How::Told(wrongs) => Some(wrongs),
            How::Function(..) | How::Statements(_) => None,
        }
    }

    /// What has to happen so that it shows, if that is not what happens anyway.
    pub fn course(self) -> Option<Course> {
        (self == Self::AcceptsEpochs).then_some(Course::Restore)
    }

    /// Of how many things that somebody does one is done in a room: coming in takes a moment, in which something must be said.
    pub const fn rooms_once_in(self) -> u32 {
        if matches!(self, Self::ForgetsBuffering) { 2 } else { NOW_AND_THEN }
    }

    /// The faults without which it would not show.
    pub fn faults(self, length: Duration) -> Vec<Planned> {
        // To the end, so that nothing follows in which a hole would be seen.
        let planned = |fault| Planned { at: length / 2, lasts: length, fault };
        let of_redis = |weather| {
            let becomes =
                |gateway| Fault::Weather { from: format!("gateway-{gateway}"), to: "redis".to_owned(), weather };
            (1..=3).map(becomes).map(planned).collect()
        };
        match self {
            Self::IgnoresGaps | Self::SkipsComparing => of_redis(Weather::Gone),
            // What a room remembers comes in many pieces, and what is said meanwhile in one.
            Self::ForgetsBuffering => of_redis(Weather::Slow(Duration::from_millis(60))),
            Self::GoesLiveEarly => vec![planned(Fault::ClientsCut)],
            _ => Vec::new(),
        }
    }

    /// Breaks it, where that is done in the database.
    pub async fn happens(self, fleet: &Fleet) -> anyhow::Result<()> {
        match self.how() {
            How::Function(function, right, wrong) => fleet.execute(&replace(function, right, wrong)).await?,
            How::Statements(statements) => fleet.execute(statements).await?,
            How::Told(_) => {}
        }
        // Without what would keep it right all the same.
        match self {
            Self::IgnoresKeys => fleet.execute("drop index messages_client_message_id").await,
            Self::ReusesNumbers => fleet.execute("alter table messages drop constraint messages_seq").await,
            _ => Ok(()),
        }
    }
}

const EDIT: &str = "carillon_edit(text, boolean, uuid, text, uuid, text[])";

const SEND: &str = "carillon_send(text, boolean, uuid, uuid, text, text, text, bytea, text, bytea, uuid, uuid[], text[], uuid, \
                    text, boolean, uuid, boolean, uuid)";

/// Gives the feeds of a conversation a second entry for one message in a hundred.
const TELL_TWICE: &str = "
    create function carillon_tell_twice() returns trigger language plpgsql as $$
    begin
        if new.kind = 'new_message' and pg_trigger_depth() < 2 and random() < 0.01 then
            update feeds f set seq = f.seq + 1 where f.channel = new.channel;
            insert into entries select new.channel, new.seq + 1, new.kind, new.conversation_id, new.message_id, new.user_id,
                new.created_at, new.trace;
        end if;
        return null;
    end $$;
    create trigger tell_twice after insert on entries for each row execute function carillon_tell_twice();";

/// Has one message in twenty change places with the one before it, in a feed as it is read later.
const SWAP_TWO: &str = "
    create function carillon_swap_two() returns trigger language plpgsql as $$
    declare
        before entries;
    begin
        if new.kind = 'new_message' and random() < 0.05 then
            select * into before from entries e
            where e.channel = new.channel and e.seq = new.seq - 1 and e.kind = new.kind and e.conversation_id = new.conversation_id;
            if found then
                update entries e set message_id = new.message_id where e.channel = new.channel and e.seq = before.seq;
                update entries e set message_id = before.message_id where e.channel = new.channel and e.seq = new.seq;
            end if;
        end if;
        return null;
    end $$;
    create trigger swap_two after insert on entries for each row execute function carillon_swap_two();";

/// Replaces a stretch of a function; fails if it is not there.
fn replace(function: &str, right: &str, wrong: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let (function, right, wrong) = (quoted(function), quoted(right), quoted(wrong));
    format!(
        "do $$ declare body text := pg_get_functiondef({function}::regprocedure); begin
             assert position({right} in body) > 0, 'the function has changed';
             execute replace(body, {right}, {wrong});
         end $$"
    )
}
