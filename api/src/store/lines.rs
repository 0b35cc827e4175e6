//! Lines of messages: the main line of a conversation and its threads, and the statements that read pages of them.
//!
//! Both databases are asked in the same words. Numbers of a line have holes, where others stand in another line.

use shared::ids::{MessageId, Seq};
use shared::time::Timestamp;
use uuid::Uuid;

use super::rows;

/// Which messages to read; the result is oldest first in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessagePage {
    /// Which part of the conversation.
    pub part: MessagePart,
    /// At most so many.
    pub limit: u32,
}

/// A part of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessagePart {
    /// The newest, leaving out so many of them.
    Newest {
        /// So many.
        offset: u32,
    },
    /// The newest before a number.
    Before(Seq),
    /// The oldest after a number.
    After(Seq),
    /// Half before and half from a number on.
    Around(Seq),
}

/// Which threads of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadPage {
    /// Only those that the caller follows.
    pub following: bool,
    /// Continue after the thread that was last answered then (microseconds since 1970), with this root.
    pub after: Option<(i64, MessageId)>,
    /// At most so many.
    pub limit: u32,
}

impl ThreadPage {
    /// The moment and the root before which the page begins; of the first page, after everything.
    pub(super) fn bound(&self) -> (Timestamp, Uuid) {
        self.after.map_or((Timestamp::LAST, Uuid::max()), |(at, root)| (Timestamp::from_micros(at), root.0))
    }
}

/// Reads a page of a line of messages, to one person: `$1` is the line, `$2` who reads, and the rest is of a [`Reach`].
macro_rules! messages_of {
    ($line:literal) => {
        concat!(
            "select * from (
                 select m.*, exists (select 1 from message_hides h where h.user_id = $2 and h.message_id = m.id) as hidden
                 from message_rows m where ",
            $line,
            " and m.seq < $3 order by m.seq desc limit $4
             ) older
             union all
             select * from (
                 select m.*, exists (select 1 from message_hides h where h.user_id = $2 and h.message_id = m.id) as hidden
                 from message_rows m where ",
            $line,
            " and m.seq >= $3 order by m.seq limit $5
             ) newer
             order by seq"
        )
    };
}

/// Reads a page of the main line of a conversation.
pub(super) const PAGE_OF_CONVERSATION: &str = messages_of!("m.conversation_id = $1 and m.in_main_line");
/// Reads a page of the replies of a thread.
pub(super) const PAGE_OF_THREAD: &str = messages_of!("m.thread_root_id = $1");
/// Finds where the newest of a conversation begin that are not left out.
pub(super) const NEWEST_LEFT_OUT: &str = "select m.seq from messages m where m.conversation_id = $1 and m.in_main_line
     order by m.seq desc limit 1 offset $2";

/// Reads threads of a conversation, the last answered first, with how far one person has read them: `$1` is the conversation, `$2` the
/// person, `$3` and `$4` are the bound, `$5` is how many.
macro_rules! threads_of {
    ($threads:literal) => {
        concat!(
            "select m.*, exists (select 1 from message_hides h where h.user_id = $2 and h.message_id = m.id) as hidden,
                 (select f.json from follower_rows f where f.root_id = t.root_id and f.user_id = $2) as follower,
                 coalesce((select seq from feeds where channel = 'user:' || $2), 0) as head
             from ",
            $threads,
            " join message_rows m on m.id = t.root_id
             where t.conversation_id = $1 and (t.last_reply_at, t.root_id) < ($3, $4)
             order by t.last_reply_at desc, t.root_id desc limit $5"
        )
    };
}

/// Reads all threads of a conversation.
pub(super) const THREADS: &str = threads_of!("threads t");
/// Reads those that the person follows.
pub(super) const FOLLOWED_THREADS: &str = threads_of!(
    "(select root_id from thread_followers where user_id = $2 and conversation_id = $1) mine
     join threads t on t.root_id = mine.root_id"
);
/// Reads the thread that a message began or may begin: `$1` is the message, `$2` who reads, `$3` whether they see all.
pub(super) const THREAD: &str =
    "select m.*, exists (select 1 from message_hides h where h.user_id = $2 and h.message_id = m.id) as hidden,
         (select f.json from follower_rows f where f.root_id = m.id and f.user_id = $2) as follower,
         coalesce((select seq from feeds where channel = 'user:' || $2), 0) as head
     from message_rows m where m.id = $1 and ($3 or exists (
         select 1 from conversation_participants p
         where p.conversation_id = m.conversation_id and p.user_id = $2 and p.left_at is null))";

/// The numbers that a page reaches: so many before one number, and so many from it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) pivot: i64,
    pub(super) before: i64,
    pub(super) after: i64,
}

impl MessagePage {
    /// Which numbers the page asks for, with the oldest number that is left out of the newest.
    pub(super) fn reach(&self, left_out: Option<i64>) -> Reach {
        let limit = i64::from(self.limit);
        match self.part {
            MessagePart::Newest { .. } => Reach { pivot: left_out.unwrap_or(i64::MAX), before: limit, after: 0 },
            MessagePart::Before(seq) => Reach { pivot: rows::number(seq), before: limit, after: 0 },
            MessagePart::After(seq) => Reach { pivot: rows::number(seq).saturating_add(1), before: 0, after: limit },
            MessagePart::Around(seq) => Reach { pivot: rows::number(seq), before: limit / 2, after: limit - limit / 2 },
        }
    }

    /// How many of the newest are left out, if any.
    pub(super) const fn leaves_out(&self) -> Option<u32> {
        match self.part {
            MessagePart::Newest { offset } if offset > 0 => Some(offset),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_messages_reaches_to_both_sides_of_a_number() {
        let reach = |part| {
            let Reach { pivot, before, after } = MessagePage { part, limit: 11 }.reach(None);
            (pivot, before, after)
        };
        assert_eq!(reach(MessagePart::Newest { offset: 0 }), (i64::MAX, 11, 0));
        assert_eq!(reach(MessagePart::Before(Seq(91))), (91, 11, 0));
        assert_eq!(reach(MessagePart::Before(Seq(u64::MAX))), (i64::MAX, 11, 0));
        assert_eq!(reach(MessagePart::After(Seq(0))), (1, 0, 11));
        assert_eq!(reach(MessagePart::After(Seq(u64::MAX))), (i64::MAX, 0, 11));
        assert_eq!(reach(MessagePart::Around(Seq(50))), (50, 5, 6));
        let newest = MessagePage { part: MessagePart::Newest { offset: 3 }, limit: 10 };
        assert_eq!((newest.leaves_out(), newest.reach(Some(98)).pivot), (Some(3), 98));
    }
}
