//! The truth: what was said, by whom, and in which order.
//!
//! On the line the store stands first: one transaction decides whether a draft becomes a message, numbers it in its
//! conversation and in every participant's feed, and notes in the outbox what is to be announced. Two implementations,
//! PostgreSQL and SQLite, pass one conformance suite.

mod arrival;
#[cfg(feature = "testing")]
pub mod conformance;
mod error;
mod lines;
mod open;
mod page;
mod postgres;
mod rows;
mod rules;
mod schema;
mod sqlite;

use async_trait::async_trait;
use shared::access::Caller;
use shared::channel::Channel;
use shared::envelope::Envelope;
use shared::ids::{AttachmentId, ConversationId, Epoch, JobId, MessageId, ReportId, RevocationId, TraceId, UserId};
use shared::upstream::{
    Acknowledgement, Arrival, Differences, DifferencesAfter, Heads, RevokedAfter, RevokedPage, Verdict,
};

use crate::attachments::model::{AttachmentDraft, FiledAttachment, Found};
use crate::model::{
    Acknowledged, BanDraft, Block, BlockDraft, ChangeDraft, Conversation, ConversationChangeDraft, ConversationDraft,
    ConversationStatus, ConversationType, DecisionDraft, Due, ExportFile, ExportPage, ExportPlace, Job, JobDraft,
    MarkerDraft, Message, MessageDraft, MessageVersion, MessagingStats, Privacy, PrivacyChange, ReadMarker, Refusal,
    Report, ReportDraft, ReportState, Revocation, RevocationDraft, ScheduleChangeDraft, ScheduleDraft, Scheduled,
    Snapshot, Thread, ThreadChangeDraft, ThreadMarker, Unread, UnreadCheck, Unsent, UnsentDraft, User, UserDraft,
};
use crate::search::Query;

pub use error::StoreError;
pub use lines::{MessagePage, MessagePart, ThreadPage};
pub use open::{migrate, new_epoch, open};
pub use schema::MigrationSummary;

/// Everything a pod keeps.
pub trait Store:
    Messaging
    + Changing
    + Threads
    + Writings
    + Schedule
    + Reading
    + Search
    + Attachments
    + People
    + Moderation
    + Jobs
    + Revocations
    + Feeds
    + Outbox
    + Health
{
}

impl<
    T: Messaging
        + Changing
        + Threads
        + Writings
        + Schedule
        + Reading
        + Search
        + Attachments
        + People
        + Moderation
        + Jobs
        + Revocations
        + Feeds
        + Outbox
        + Health,
> Store for T
{
}

/// Conversations and messages. What a write returned, every later read sees; numbers have no holes.
///
/// Every method does only what the caller may: what is not theirs to see does not exist for them.
#[async_trait]
pub trait Messaging: Send + Sync {
    /// Starts a conversation, or answers the one that the caller's key, or the pair of a `direct`, made before.
    async fn create_conversation(
        &self,
        caller: &Caller,
        draft: &ConversationDraft,
    ) -> Result<Kept<Conversation>, StoreError>;

    /// One conversation, to its participants and to staff.
    async fn conversation(&self, caller: &Caller, id: ConversationId) -> Result<Conversation, StoreError>;

    /// The caller's conversations, the last active first; or everybody's, to those who see all, the last started first.
    async fn conversations(&self, caller: &Caller, page: &ConversationPage) -> Result<Vec<Conversation>, StoreError>;

    /// Changes a conversation or who is in it, and tells everyone concerned: all participants, whoever came or left among them; of
    /// what a person sets for themselves only that person.
    ///
    /// A change that is there already changes nothing and tells nobody. Who comes finds everything read; who left is told
    /// nothing of what follows.
    async fn change_conversation(
        &self,
        caller: &Caller,
        draft: &ConversationChangeDraft,
    ) -> Result<Kept<Conversation>, StoreError>;

    /// Makes `draft` a message: numbered, kept, and in every participant's feed, once.
    ///
    /// Order is the order of commits: of two messages the one acknowledged first has the lower number. A repeat by
    /// `client_message_id` answers the first message, whatever became of the conversation meanwhile; with another body it is
    /// [`StoreError::KeyReused`].
    async fn append(&self, caller: &Caller, draft: &MessageDraft) -> Result<Kept<Message>, StoreError>;

    /// Messages of a conversation's main line, oldest first, to its participants and to staff.
    async fn messages(
        &self,
        caller: &Caller,
        conversation: ConversationId,
        page: &MessagePage,
    ) -> Result<Vec<Message>, StoreError>;

    /// How much there is: to the caller, and to those who see everything over all conversations.
    async fn stats(&self, caller: &Caller) -> Result<MessagingStats, StoreError>;

    /// Everything a device needs to start anew, from one moment.
    async fn snapshot(&self, caller: &Caller) -> Result<Snapshot, StoreError>;
}

/// What becomes of messages once they are sent.
#[async_trait]
pub trait Changing: Send + Sync {
    /// Changes a message, and tells everyone in its conversation; of what a person hides only themselves.
    ///
    /// A change that is there already changes nothing and tells nobody. Each one that does raises the message's version.
    async fn change(&self, caller: &Caller, draft: &ChangeDraft) -> Result<Kept<Message>, StoreError>;

    /// One message, to the participants of its conversation and to staff.
    async fn message(&self, caller: &Caller, id: MessageId) -> Result<Message, StoreError>;

    /// What a message said before, the oldest first: the last 100 texts. Nothing of a message that the caller has hidden.
    async fn history(&self, caller: &Caller, id: MessageId) -> Result<Vec<MessageVersion>, StoreError>;

    /// Who has acknowledged a message, the first first. Nothing of a message that the caller has hidden.
    async fn acknowledgements(
        &self,
        caller: &Caller,
        id: MessageId,
        page: &AcknowledgementPage,
    ) -> Result<Vec<Acknowledged>, StoreError>;

    /// What a conversation keeps at hand, the last pinned first: at most 50 messages, to its participants and to staff.
    async fn pins(&self, caller: &Caller, conversation: ConversationId) -> Result<Vec<Message>, StoreError>;
}

/// What is said to a message apart from the main line of its conversation.
///
/// A reply has its number in the conversation and is told to everyone in it like any other message. Unless it stands in the
/// main line too it is unread to those who follow its thread, and to nobody else: who answers there, who is called by name, and
/// whose message was answered, as long as they do not want otherwise.
#[async_trait]
pub trait Threads: Send + Sync {
    /// A thread and a page of its replies, oldest first, to the participants of its conversation and to staff.
    async fn thread(
        &self,
        caller: &Caller,
        root: MessageId,
        page: &MessagePage,
    ) -> Result<(Thread, Vec<Message>), StoreError>;

    /// The threads of a conversation, the last answered first, to its participants and to staff.
    async fn threads(
        &self,
        caller: &Caller,
        conversation: ConversationId,
        page: &ThreadPage,
    ) -> Result<Vec<Thread>, StoreError>;

    /// Moves the caller's marker in a thread, or has them follow it or no longer, and tells their own devices. What is so already
    /// changes nothing and tells nobody.
    async fn change_thread(&self, caller: &Caller, draft: &ThreadChangeDraft)
    -> Result<Kept<ThreadMarker>, StoreError>;
}

/// What people have written and not sent: one text for each person and conversation, theirs alone.
#[async_trait]
pub trait Writings: Send + Sync {
    /// Keeps what the caller has written in a conversation, or keeps it no longer, and tells their own devices. What is there
    /// already changes nothing and tells nobody; nor does a change of another version than is meant. `None` if there never was
    /// anything.
    async fn keep_unsent(&self, caller: &Caller, draft: &UnsentDraft) -> Result<Kept<Option<Unsent>>, StoreError>;

    /// What the caller has written in a conversation.
    async fn unsent(&self, caller: &Caller, conversation: ConversationId) -> Result<Unsent, StoreError>;

    /// What the caller has written in all conversations that they take part in, the last changed first.
    async fn all_unsent(&self, caller: &Caller, page: &UnsentPage) -> Result<Vec<Unsent>, StoreError>;
}

/// Messages that are to be sent later. What was sent or cancelled keeps no text here.
#[async_trait]
pub trait Schedule: Send + Sync {
    /// Keeps a message that is to be sent later, or answers the one that the caller's key kept before; tells the caller's own
    /// devices. At most 100 of one person wait.
    async fn schedule(&self, caller: &Caller, draft: &ScheduleDraft) -> Result<Kept<Scheduled>, StoreError>;

    /// Changes or cancels a message of the caller's that is not sent yet, and tells their own devices. A change that is there
    /// already changes nothing and tells nobody. While a worker has it, it is [`StoreError::NoLongerScheduled`].
    async fn reschedule(&self, caller: &Caller, draft: &ScheduleChangeDraft) -> Result<Kept<Scheduled>, StoreError>;

    /// The caller's messages that wait or were refused, the next first.
    async fn all_scheduled(&self, caller: &Caller, page: &SchedulePage) -> Result<Vec<Scheduled>, StoreError>;

    /// Takes at most so many messages whose time has come. Nobody else gets them for a minute; after that whoever asks, unless
    /// they are finished.
    async fn take_due(&self, most: u32) -> Result<Vec<Due>, StoreError>;

    /// Notes what came of sending a message that was due, and tells its sender's devices. Twice is once.
    async fn finish_scheduled(
        &self,
        id: MessageId,
        outcome: Result<(), Refusal>,
        trace: TraceId,
    ) -> Result<Kept<Scheduled>, StoreError>;
}

/// How far people have read, and what is unread.
///
/// Unread in a conversation are the messages of its main line after one's marker that others sent and nobody deleted; what stands
/// in a thread alone counts there. Counts are exact at any
/// number, and say at which position of their owner's feed they were taken.
#[async_trait]
pub trait Reading: Send + Sync {
    /// Moves the caller's own marker, and tells their own devices; the others are shown a sign of it, unless the caller does not show
    /// that. A move that changes nothing tells nobody.
    async fn mark(&self, caller: &Caller, draft: &MarkerDraft) -> Result<Kept<ReadMarker>, StoreError>;

    /// What the caller shows to others.
    async fn privacy(&self, caller: &Caller) -> Result<Privacy, StoreError>;

    /// Changes what the caller shows to others, and answers all of it. If that changes who sees whether they are here, gateways are
    /// to ask anew.
    async fn set_privacy(&self, caller: &Caller, change: &PrivacyChange) -> Result<Kept<Privacy>, StoreError>;

    /// Where the caller has unread messages, and how many over all, from one moment.
    async fn unread(&self, caller: &Caller) -> Result<Unread, StoreError>;

    /// What is unread to the caller in their conversations, by their ids: as kept, and counted anew, from one moment.
    async fn verify_unread(&self, caller: &Caller, page: &UnreadPage) -> Result<Vec<UnreadCheck>, StoreError>;
}

/// Finding what was said.
#[async_trait]
pub trait Search: Send + Sync {
    /// The messages that match, of those that the caller may see, the newest first. A deleted message is not found, and an edited
    /// one by its newest text only.
    async fn search(&self, caller: &Caller, page: &SearchPage) -> Result<Vec<Hit>, StoreError>;
}

/// What is sent along with messages, as far as it is not bytes. [`Messaging::append`] attaches it.
#[async_trait]
pub trait Attachments: Send + Sync {
    /// Reserves a place for what the caller uploads, or answers the one that the caller's key reserved before. At most 100 at a
    /// time wait for a message that brings them.
    async fn reserve(&self, caller: &Caller, draft: &AttachmentDraft) -> Result<Kept<FiledAttachment>, StoreError>;

    /// One attachment: to its uploader until a message has brought it, and from then on to whoever sees the message. Without a
    /// caller, who is vouched for by a link then, any whose bytes are there.
    async fn attachment(&self, caller: Option<&Caller>, id: AttachmentId) -> Result<FiledAttachment, StoreError>;

    /// Notes what was found in the bytes that the caller uploaded. From then on a message can bring it. Twice is once.
    async fn complete_attachment(
        &self,
        caller: &Caller,
        id: AttachmentId,
        found: &Found,
    ) -> Result<FiledAttachment, StoreError>;

    /// Gives up what no message has brought within 24 hours, and answers at most so many of those given up. No message can
    /// bring them any more; they are answered again until they are forgotten.
    async fn expire_attachments(&self, most: u32) -> Result<Vec<AttachmentId>, StoreError>;

    /// Forgets attachments that were given up and whose bytes are gone.
    async fn forget_attachments(&self, ids: &[AttachmentId]) -> Result<(), StoreError>;
}

/// People, and what is known of them.
#[async_trait]
pub trait People: Send + Sync {
    /// Keeps what a service says of a person, all of it at once, and tells them and those who share a conversation with them: of
    /// those the 250 whom they share the last active ones with. The same again changes nothing and tells nobody.
    async fn put_user(&self, caller: &Caller, draft: &UserDraft) -> Result<Kept<User>, StoreError>;

    /// One person: to themselves, to staff and services, and without their e-mail to those who share a conversation with them.
    async fn user(&self, caller: &Caller, id: &UserId) -> Result<User, StoreError>;

    /// Blocks somebody or takes it back, and tells the caller's own devices; the other one never. Answers since when they are
    /// blocked, if they are. At most 1,000. What is so already changes nothing and tells nobody.
    ///
    /// Between two of whom one has blocked the other nothing is sent, edited or reacted to in a `direct` conversation, and
    /// none is started: [`StoreError::Blocked`]. Whoever blocks finds nothing the other one wrote by searching.
    async fn set_block(&self, caller: &Caller, draft: &BlockDraft) -> Result<Kept<Option<Block>>, StoreError>;

    /// Whom the caller blocks, the last blocked first.
    async fn blocks(&self, caller: &Caller, page: &BlockPage) -> Result<Vec<Block>, StoreError>;

    /// Of each pair, in the order asked, whether one of them has blocked the other. For what the fleet says on its own:
    /// signs of life do not pass between them.
    async fn blocked_pairs(&self, pairs: &[(UserId, UserId)]) -> Result<Vec<bool>, StoreError>;

    /// Of each, in the order asked, whether the caller sees if the person is here. Of themselves they do. Of others not where one of
    /// the two has blocked the other, in whatever conversations they are, where the person does not show it or is erased, and
    /// where the two share no conversation; staff and services need share none.
    async fn sees_presence(&self, asked: &[(&Caller, &UserId)]) -> Result<Vec<bool>, StoreError>;
}

/// What people report, what staff decide, and who may do nothing for a while.
///
/// Whoever is banned changes nothing: every method that writes for a caller answers [`StoreError::Banned`], and
/// [`Feeds::arrive`] denies them. Repeats by key still succeed.
#[async_trait]
pub trait Moderation: Send + Sync {
    /// Puts a message before staff and tells them. Each person reports a message once: again answers the first report.
    async fn report(&self, caller: &Caller, draft: &ReportDraft) -> Result<Kept<Report>, StoreError>;

    /// Reports with their messages as of today, the oldest first, to staff and services.
    async fn reports(&self, caller: &Caller, page: &ReportPage) -> Result<Vec<(Report, Message)>, StoreError>;

    /// Decides an open report and tells staff. Of those who decide at once one does, and the others get
    /// [`StoreError::Decided`]; the same by the same person again changes nothing.
    async fn decide_report(&self, caller: &Caller, draft: &DecisionDraft) -> Result<Kept<Report>, StoreError>;

    /// Bans somebody or lifts it, and tells them: the entry has every gateway close what it has of theirs. The same again changes
    /// nothing and tells nobody.
    async fn set_ban(&self, caller: &Caller, draft: &BanDraft) -> Result<Kept<User>, StoreError>;
}

/// What takes longer than a request. One job about a person at a time; whoever works it off may die at any point, and another
/// worker goes on half a minute later.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Begins a job, or answers the one of its kind about this person that is under way.
    ///
    /// Erasing begins at once: nothing is known of the person from then on, they change nothing any more
    /// ([`StoreError::Erased`]), are in no new conversation, and may not connect; those who share a conversation with them are
    /// told. Erased once is erased for good: again answers the job that did it.
    async fn start_job(&self, caller: &Caller, draft: &JobDraft) -> Result<Kept<Job>, StoreError>;

    /// One job: to whom it is about, to who asked for it, and to admins and services.
    async fn job(&self, caller: &Caller, id: JobId) -> Result<Job, StoreError>;

    /// Takes the job that waits longest, for half a minute.
    async fn claim_job(&self) -> Result<Option<Job>, StoreError>;

    /// Does one step of erasing somebody, and has the job for half a minute more. Every message of theirs keeps its number and
    /// says nothing, their reactions are gone, they leave every conversation, and everyone concerned is told. Beyond the
    /// end a step changes nothing.
    async fn erase_next(&self, id: JobId) -> Result<Kept<Job>, StoreError>;

    /// What is kept of somebody: the lines of one page, and where the next one begins.
    async fn export_page(&self, user: &UserId, from: &ExportPlace) -> Result<ExportPage, StoreError>;

    /// Notes how many messages were looked through, and has the job for half a minute more.
    async fn keep_job(&self, id: JobId, progress: u64) -> Result<(), StoreError>;

    /// Ends an export. Its file is an attachment of whoever asked for it, under the id of the job, and is given up after 24 hours
    /// like any that no message has brought. Twice is once.
    async fn finish_export(&self, id: JobId, file: &ExportFile) -> Result<Job, StoreError>;
}

/// Tokens that do not count any more, kept until none can match, and told to the pods through the feed of the fleet.
#[async_trait]
pub trait Revocations: Send + Sync {
    /// Revokes one token of somebody, or all that were issued until a moment, and tells the pods. Everybody revokes their own, admins
    /// and services everybody's. What is revoked already changes nothing and tells nobody; of all tokens the later moment counts.
    /// At most 100 single tokens of one person.
    async fn revoke(&self, caller: &Caller, draft: &RevocationDraft) -> Result<Kept<Revocation>, StoreError>;

    /// Revocations, the last one first, to admins and services.
    async fn revocations(&self, caller: &Caller, page: &RevocationPage) -> Result<Vec<Revocation>, StoreError>;

    /// What was revoked after a number of the feed of the fleet, from one moment: whoever goes on from there misses nothing.
    /// Everything where the number means nothing today.
    async fn revoked_after(&self, after: &RevokedAfter) -> Result<RevokedPage, StoreError>;

    /// Forgets at most so many that were over an hour ago, and says how many those were.
    async fn forget_revocations(&self, most: u32) -> Result<u64, StoreError>;
}

/// Numbered feeds, and where everybody stands in them.
#[async_trait]
pub trait Feeds: Send + Sync {
    /// The heads of these channels, in the order asked; 0 for a feed without entries.
    async fn heads(&self, channels: &[Channel]) -> Result<Heads, StoreError>;

    /// The entries after the asked numbers, rendered as of today, contiguous.
    async fn differences(&self, after: &DifferencesAfter) -> Result<Differences, StoreError>;

    /// Where delivery starts for devices that connect, in the order asked. Notes each device's start.
    async fn arrive(&self, arrivals: &[Arrival]) -> Result<Vec<Verdict>, StoreError>;

    /// Whether the caller takes part in the conversation, or may see all, and then what they show there: no signs where one of the two
    /// in a `direct` conversation has blocked the other.
    async fn participates(&self, caller: &Caller, conversation: ConversationId) -> Result<Option<Privacy>, StoreError>;

    /// Notes what devices and users have received. Positions only move forwards. With them moves how far people have received the
    /// conversations; answers a sign for each of those who show it.
    async fn acknowledge(&self, acknowledgements: &[Acknowledgement]) -> Result<Vec<Envelope>, StoreError>;
}

/// What was committed and may still have to be announced.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// The heads of all feeds that the outbox names.
    async fn recent_heads(&self) -> Result<Heads, StoreError>;

    /// Takes the one turn at reading and clearing the outbox; `None` while another worker has it.
    async fn take_turn(&self) -> Result<Option<Box<dyn Turn>>, StoreError>;
}

/// The one worker's turn at the outbox. It ends when dropped, or when its connection does.
#[async_trait]
pub trait Turn: Send {
    /// Reads the whole outbox: the heads of the feeds it names. Rows first read ten seconds and 20 reads ago are deleted.
    async fn read(&mut self) -> Result<Heads, StoreError>;
}

/// Whether the store can be relied on.
#[async_trait]
pub trait Health: Send + Sync {
    /// Today's epoch: verified on every new connection.
    async fn epoch(&self) -> Result<Epoch, StoreError>;

    /// Checks that the database answers, has this version's schema, and commits durably.
    async fn check(&self) -> Result<(), StoreError>;

    /// How old the oldest outbox row is; zero when it is empty.
    async fn outbox_age(&self) -> Result<std::time::Duration, StoreError>;
}

/// Something the store made, and what the fleet should hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<T> {
    /// What was made.
    pub value: T,
    /// Whether it was made now; false when a repeat found the first.
    pub created: bool,
    /// One envelope per feed it entered; none for a repeat.
    pub envelopes: Vec<Envelope>,
}

/// Which conversations to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationPage {
    /// Not only the caller's own.
    pub everybodys: bool,
    /// Only of this kind.
    pub kind: Option<ConversationType>,
    /// Only in this state.
    pub status: Option<ConversationStatus>,
    /// Only with unread messages, or only without.
    pub unread: Option<bool>,
    /// Only those that the caller has put away, or only the others.
    pub archived: Option<bool>,
    /// Only those that the caller has pinned, or only the others.
    pub pinned: Option<bool>,
    /// Only those that wait for one of the staff, or only the others.
    pub queued: Option<bool>,
    /// Only those that this colleague looks after.
    pub assigned_to: Option<UserId>,
    /// Continue after the conversation that was last active then (microseconds since 1970), with this id.
    pub after: Option<(i64, ConversationId)>,
    /// Skip so many.
    pub offset: u32,
    /// At most so many.
    pub limit: u32,
}

/// Which of those who have acknowledged a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcknowledgementPage {
    /// Continue after who acknowledged it then (microseconds since 1970).
    pub after: Option<(i64, UserId)>,
    /// At most so many.
    pub limit: u32,
}

/// Which of somebody's counts: by default all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnreadPage {
    /// Continue after this conversation.
    pub after: Option<ConversationId>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// Which of what somebody has written and not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsentPage {
    /// Continue after what was changed then (microseconds since 1970), in this conversation.
    pub after: Option<(i64, ConversationId)>,
    /// At most so many.
    pub limit: u32,
}

/// Which of the messages that somebody has scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulePage {
    /// Continue after the message that is to be sent then (microseconds since 1970), with this id.
    pub after: Option<(i64, MessageId)>,
    /// At most so many.
    pub limit: u32,
}

/// Which of the messages that match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPage {
    /// What they must match.
    pub query: Query,
    /// Continue after the message that was sent then (microseconds since 1970), with this id.
    pub after: Option<(i64, MessageId)>,
    /// At most so many.
    pub limit: u32,
}

/// Which of those whom somebody blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockPage {
    /// Continue after who was blocked then (microseconds since 1970).
    pub after: Option<(i64, UserId)>,
    /// At most so many.
    pub limit: u32,
}

/// Which reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportPage {
    /// Only in this state.
    pub state: Option<ReportState>,
    /// Continue after the report that was made then (microseconds since 1970), with this id.
    pub after: Option<(i64, ReportId)>,
    /// At most so many.
    pub limit: u32,
}

/// Which revocations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationPage {
    /// Only of this person's tokens.
    pub user_id: Option<UserId>,
    /// Continue after what was revoked then (microseconds since 1970), with this id.
    pub after: Option<(i64, RevocationId)>,
    /// At most so many.
    pub limit: u32,
}

/// A message that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The message.
    pub message: Message,
    /// What its conversation is about.
    pub conversation_subject: Option<String>,
}

/// The conversations of a snapshot.
const SNAPSHOT_PAGE: ConversationPage = ConversationPage { limit: 100, ..ConversationPage::ALL };

impl ConversationPage {
    /// The first 50 of all.
    pub const ALL: Self = Self {
        everybodys: false,
        kind: None,
        status: None,
        unread: None,
        archived: None,
        pinned: None,
        queued: None,
        assigned_to: None,
        after: None,
        offset: 0,
        limit: 50,
    };
}
