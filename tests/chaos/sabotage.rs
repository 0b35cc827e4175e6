//! What is broken on purpose, to see whether the checker finds it. The functions of the database are replaced by wrong ones;
//! nothing of this is in the product.

use clap::ValueEnum;
use fleet::fleet::Fleet;

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
}

impl Sabotage {
    /// As it is spelled.
    pub fn name(self) -> &'static str {
        match self {
            Self::TellsWhoHasLeft => "tells-who-has-left",
            Self::ForgetsEdits => "forgets-edits",
            Self::CountsTwice => "counts-twice",
            Self::IgnoresKeys => "ignores-keys",
            Self::TellsNotEverybody => "tells-not-everybody",
            Self::ChangesTexts => "changes-texts",
            Self::TellsTwice => "tells-twice",
        }
    }

    /// As what the checker must find it.
    pub fn class(self) -> &'static str {
        match self {
            Self::TellsWhoHasLeft => "leaked",
            Self::ForgetsEdits => "lost",
            Self::CountsTwice => "drift",
            Self::IgnoresKeys | Self::TellsTwice => "duplicate",
            Self::TellsNotEverybody => "unseen",
            Self::ChangesTexts => "phantom",
        }
    }

    /// Breaks it.
    pub async fn happens(self, fleet: &Fleet) -> anyhow::Result<()> {
        let (function, right, wrong) = match self {
            Self::TellsWhoHasLeft => (
                "carillon_channels_of(uuid)",
                "p.conversation_id = p_conversation and p.left_at is null",
                "p.conversation_id = p_conversation",
            ),
            Self::ForgetsEdits => (
                "carillon_edit(text, boolean, uuid, text, uuid, text[])",
                "message_text = p_text, edited_at",
                "message_text = case when random() < 0.2 then m.message_text else p_text end, edited_at",
            ),
            Self::CountsTwice => (
                SEND,
                "set unread_count = p.unread_count + 1",
                "set unread_count = p.unread_count + 1 + (random() < 0.01)::int",
            ),
            Self::IgnoresKeys => (SEND, "made is null and p_key is not null", "false"),
            Self::TellsNotEverybody => {
                ("carillon_channels_of(uuid)", "and p.left_at is null", "and p.left_at is null and random() > 0.002")
            }
            Self::ChangesTexts => (
                SEND,
                "p_id, p_conversation, place.last_seq + 1, p_caller, p_text,",
                "p_id, p_conversation, place.last_seq + 1, p_caller, case when random() < 0.005 then 'x' else p_text end,",
            ),
            Self::TellsTwice => return fleet.execute(TELL_TWICE).await,
        };
        fleet.execute(&replace(function, right, wrong)).await?;
        if self == Self::IgnoresKeys {
            // Without the index that would keep it right all the same.
            fleet.execute("drop index messages_client_message_id").await?;
        }
        Ok(())
    }
}

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

/// Replaces a stretch of a function; fails if it is not there.
fn replace(function: &str, right: &str, wrong: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    format!(
        "do $$ declare body text := pg_get_functiondef({}::regprocedure); begin
             assert position({} in body) > 0, 'the function has changed';
             execute replace(body, {}, {});
         end $$",
        quoted(function),
        quoted(right).replace("$$", ""),
        quoted(right),
        quoted(wrong)
    )
}
