//! Why the store did not do it, cut by what the caller can do.
//!
//! The routes turn these into problem JSON and the gateway's answers into error frames. What a driver says is kept as the
//! source, for the log; the text is for outsiders.

use shared::ids::{AttachmentId, ConversationId, JobId, MessageId, ReportId, UserId};
use shared::time::Timestamp;

/// The source of an error, for the log.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why the store did not do it, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such conversation, or not the caller's to see.
    #[error("conversation {0} does not exist")]
    NoConversation(ConversationId),
    /// The message to answer is not in the conversation.
    #[error("message {0} is not in this conversation")]
    NoMessage(MessageId),
    /// The message stands in a thread itself.
    #[error("message {0} stands in a thread itself: name the message that began it")]
    NotARoot(MessageId),
    /// The caller has written nothing there that is not sent.
    #[error("there is no draft in conversation {0}")]
    NothingUnsent(ConversationId),
    /// The caller has scheduled no such message.
    #[error("scheduled message {0} does not exist")]
    NotScheduled(MessageId),
    /// The message is sent, being sent, or cancelled.
    #[error("message {0} is not waiting any more")]
    NoLongerScheduled(MessageId),
    /// No such attachment, or not the caller's.
    #[error("attachment {0} does not exist")]
    NoAttachment(AttachmentId),
    /// The bytes of the attachment have not been found good yet.
    #[error("attachment {0} is not complete: upload it and complete it first")]
    NotComplete(AttachmentId),
    /// A message has brought the attachment already.
    #[error("attachment {0} is another message's: upload it again")]
    AttachedElsewhere(AttachmentId),
    /// A voice message brings only what was spoken.
    #[error("attachment {0} is not of the kind voice")]
    NotVoice(AttachmentId),
    /// The caller sees the conversation but takes no part in it.
    #[error("you take no part in conversation {0}")]
    NotAParticipant(ConversationId),
    /// The conversation takes no messages.
    #[error("conversation {0} is closed")]
    Closed(ConversationId),
    /// The message was deleted: it takes no changes.
    #[error("message {0} was deleted")]
    Deleted(MessageId),
    /// No such person, or not the caller's to see.
    #[error("{0} is not known here, or takes no part in a conversation of yours")]
    NoUser(UserId),
    /// They take no part in the conversation.
    #[error("{0} takes no part in this conversation")]
    NotIn(UserId),
    /// This colleague looks after the conversation.
    #[error("{0} looks after this conversation")]
    AssignedTo(UserId),
    /// Nobody of this name is known to work here.
    #[error("{0} is not known to work here")]
    NotStaff(UserId),
    /// The key was used for another body.
    #[error("the key was used for something else before")]
    KeyReused,
    /// No such report.
    #[error("report {0} does not exist")]
    NoReport(ReportId),
    /// Somebody decided the report, or otherwise.
    #[error("report {0} is decided already")]
    Decided(ReportId),
    /// They were erased; perhaps the caller themselves.
    #[error("{0} was erased")]
    Erased(UserId),
    /// No such job, or not the caller's to see.
    #[error("job {0} does not exist")]
    NoJob(JobId),
    /// Only one job about a person at a time.
    #[error("another job about {0} is under way: wait until it is done")]
    OtherJob(UserId),
    /// The caller may do nothing for now.
    #[error("you are banned {}", until(*.0))]
    Banned(Option<Timestamp>),
    /// One of a pair has blocked the other; which of them is not told.
    #[error("one of you has blocked the other")]
    Blocked,
    /// The caller's role may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// A limit would be passed.
    #[error("at most {limit} {what}")]
    LimitExceeded {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: u64,
    },
    /// The database cannot be reached, is busy, or fell over. Whether a write was done is unknown: repeat it with its key.
    #[error("the database did not answer in time")]
    Unavailable(#[source] Source),
    /// The database is there but must not be used: another schema, or commits that do not last.
    #[error("the database cannot be used: {0}")]
    Unfit(String),
    /// The database refused in a way that no caller can mend.
    #[error("the database refused")]
    Broken(#[source] Source),
}

/// When a ban ends, in words.
fn until(end: Option<Timestamp>) -> String {
    end.map_or_else(|| "without an end".to_owned(), |end| format!("until {end}"))
}

/// What to do about a schema that is not this build's.
pub(super) const MIGRATE: &str = "run `carillon migrate` of the same version as this pod";

impl StoreError {
    /// An error for what is kept but cannot be understood.
    pub(super) fn broken(source: impl Into<Source>) -> Self {
        Self::Broken(source.into())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let refused = match &error {
            sqlx::Error::Database(refused) => refused,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => return Self::Unavailable(error.into()),
            _ => return Self::Broken(error.into()),
        };
        let code = refused.code().unwrap_or_default();
        if is_passing(&code) {
            return Self::Unavailable(error.into());
        }
        if is_of_another_schema(&code, refused.message()) {
            return Self::Unfit(format!("{}; {MIGRATE}", refused.message()));
        }
        Self::Broken(error.into())
    }
}

/// Whether trying again later may help: locks, deadlocks, timeouts, restarts, a standby, a full disk. SQLite's codes are
/// plain numbers, the low byte of which names the kind.
fn is_passing(code: &str) -> bool {
    match code.parse::<u32>() {
        Ok(number) if code.len() < 5 => matches!(number & 0xff, 5 | 6 | 10 | 13),
        _ => {
            matches!(code, "55P03" | "57014" | "40001" | "40P01" | "25P03" | "25006" | "55000")
                || ["57P", "08", "53"].iter().any(|class| code.starts_with(class))
        }
    }
}

/// Whether a table, column, function, role or right is missing that this build relies on.
fn is_of_another_schema(code: &str, message: &str) -> bool {
    matches!(code, "42P01" | "42883" | "42703" | "42501" | "42704" | "22023")
        || message.contains("no such table")
        || message.contains("no such column")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_restarts_and_timeouts_pass() {
        for code in ["55P03", "57014", "57P01", "57P03", "08006", "40001", "40P01", "53300", "5", "517", "6"] {
            assert!(is_passing(code), "{code}");
        }
        for code in ["23505", "42P01", "1", "2067", "19", ""] {
            assert!(!is_passing(code), "{code}");
        }
    }
}
