//! What every store promises, as tests that each implementation runs.
//!
//! One function per promise, with its words. [`store_conformance!`](crate::store_conformance) gives an implementation the whole
//! suite; each test gets a database of its own.

pub mod acknowledgements;
pub mod attachments;
pub mod changing;
mod console;
pub mod feeds;
pub mod forwards;
pub mod jobs;
pub mod members;
pub mod mentions;
pub mod messaging;
pub mod moderation;
pub mod outbox;
pub mod people;
pub mod pins;
pub mod positions;
pub mod queue;
pub mod reading;
pub mod revocations;
pub mod schedule;
pub mod search;
pub mod threads;
pub mod unsent;

use std::any::Any;
use std::sync::Arc;

use shared::access::Caller;
use shared::channel::{Channel, Role};
use shared::envelope::{Content, Entry, Envelope};
use shared::ids::{ClientMessageId, ConversationId, Epoch, MessageId, Seq, TraceId, UserId};
use shared::time::Timestamp;
use shared::upstream::{Differences, DifferencesAfter, Page};

use self::console::Console;
use super::{Kept, Store, open};
use crate::model::{
    Conversation, ConversationDraft, ConversationType, Mentions, Message, MessageDraft, MessagePriority, MessageType,
};

/// Defines one test per promise of the store; `$bed` is an expression that makes a [`Bed`] in a fresh database.
#[macro_export]
macro_rules! store_conformance {
    ($bed:expr) => {
        $crate::store_conformance! { @tests $bed;
            messaging: numbers_have_no_holes, a_repeat_by_key_answers_the_first_message,
                a_repeat_succeeds_after_closing_and_leaving, twenty_racing_repeats_make_one_message,
                another_body_under_the_key_is_refused, fifty_concurrent_senders_get_dense_numbers_in_commit_order,
                what_a_write_returned_every_later_read_sees, a_direct_conversation_is_made_once_however_many_race,
                a_conversation_is_made_once_per_key, a_message_is_made_once_per_request_key, people_outside_a_conversation_see_nothing,
                staff_see_every_conversation_and_send_where_they_take_part, a_closed_conversation_takes_no_messages,
                a_reply_stays_in_its_conversation, roles_limit_what_may_be_started_and_sent,
                a_conversation_has_at_most_250_participants, unread_counts_equal_the_recount,
                pages_of_messages_are_oldest_first, conversations_are_listed_the_last_active_first,
                a_refused_write_leaves_no_hole, what_was_numbered_is_not_deleted, a_snapshot_is_from_one_moment;
            members: a_change_of_a_conversation_is_told_to_everyone_in_it, only_who_manages_a_conversation_closes_it,
                who_comes_is_told_with_the_others_and_finds_everything_read,
                who_left_is_told_so_and_nothing_that_follows, a_key_tells_who_was_removed_nothing_of_today,
                what_everybody_has_left_can_still_be_closed_and_cleaned, roles_are_given_by_who_manages,
                a_direct_conversation_keeps_its_people_and_a_group_its_limit,
                what_one_sets_for_oneself_is_told_to_oneself_alone;
            queue: a_guest_who_names_no_colleague_is_seen_by_all_of_them_at_once,
                of_those_who_claim_a_conversation_one_gets_it, a_colleague_can_be_made_to_look_after_it_and_it_can_go_back,
                only_the_staff_decide_who_looks_after_what, whoever_is_erased_looks_after_nothing_any_more, staff_list_everybodys_conversations_page_by_page;
            changing: an_edit_is_told_to_everyone_and_keeps_what_was_said_before,
                a_deleted_message_keeps_its_number_and_says_nothing,
                only_its_sender_edits_and_only_staff_delete_what_others_sent,
                a_closed_conversation_takes_no_changes_but_deletions, what_one_hides_is_gone_for_oneself_alone,
                reactions_are_summed_up_and_each_counts_once;
            mentions: a_mention_is_said_beside_the_text_and_never_read_out_of_it, only_participants_are_mentioned,
                an_edit_calls_others_and_a_deleted_message_nobody, reading_counts_what_still_calls_the_reader;
            acknowledgements: everybody_else_acknowledges_a_message_once,
                who_acknowledged_is_listed_page_by_page;
            threads: a_reply_is_told_to_everyone_and_stands_in_its_thread_alone,
                a_thread_is_read_on_its_own_and_that_is_told_to_ones_own_devices_alone,
                who_answers_is_called_or_was_answered_follows_until_they_do_not_want_to,
                a_deleted_or_hidden_reply_counts_no_longer, only_a_message_of_the_main_line_begins_a_thread,
                people_outside_see_no_thread_and_who_leaves_follows_none,
                threads_are_listed_the_last_answered_first_and_read_page_by_page,
                a_send_and_a_read_of_a_thread_cannot_each_miss_the_other;
            unsent: a_draft_is_kept_for_ones_own_devices_alone, a_draft_is_cleared_only_as_it_was_meant,
                drafts_are_listed_the_last_changed_first;
            schedule: a_message_is_scheduled_once_per_key_and_told_to_its_sender_alone,
                what_is_due_is_taken_by_one_worker_and_sent_once_whatever_breaks,
                a_scheduled_message_changes_until_it_is_taken_and_leaves_no_text_when_cancelled,
                what_is_refused_is_kept_with_its_reason_and_can_wait_again,
                a_person_schedules_at_most_a_hundred_and_lists_them_the_next_first;
            pins: anyone_in_a_conversation_pins_for_all_and_a_repeat_tells_nobody, a_deleted_message_is_not_pinned,
                a_conversation_has_room_for_fifty_pins;
            forwards: a_forwarded_message_stays_as_it_was_whatever_becomes_of_the_other,
                only_what_one_sees_is_forwarded_and_only_to_where_one_takes_part, a_message_is_forwarded_once_per_key,
                what_a_message_brought_is_seen_wherever_it_is_forwarded_to;
            reading: what_a_device_acknowledges_is_delivered_and_the_others_are_shown_it,
                who_shows_no_receipts_is_seen_without_any_and_counts_as_before,
                reading_moves_the_marker_forwards_and_tells_only_ones_own_devices,
                a_marker_goes_back_only_when_asked_to, only_participants_have_a_marker,
                a_send_and_a_read_cannot_each_miss_the_other, counts_are_compared_page_by_page_without_holes, counts_equal_a_simple_model_after_ten_thousand_deeds;
            search: a_search_finds_only_what_the_caller_may_see, deleted_messages_are_never_found,
                what_one_has_hidden_is_found_by_others_only,
                an_edited_text_is_found_by_its_new_words_only, words_match_whatever_their_case_and_their_accents,
                operators_narrow_what_is_found, pages_of_a_search_neither_repeat_nor_skip,
                abuse_of_the_query_language_finds_nothing_and_breaks_nothing,
                every_text_can_be_kept_however_long_its_words,
                somebody_in_many_conversations_finds_what_is_in_any_of_them_and_no_other;
            attachments: a_place_is_reserved_once_per_key, an_attachment_is_its_uploaders_until_a_message_brings_it,
                a_message_brings_attachments_in_order_and_shows_them_ever_after, attaching_is_all_or_nothing,
                of_two_messages_that_want_one_attachment_one_gets_it,
                a_voice_message_brings_only_what_was_spoken, a_deleted_message_shows_no_attachments,
                completing_twice_is_completing_once, a_person_has_at_most_a_hundred_that_no_message_has,
                what_no_message_brought_in_a_day_is_given_up_and_forgotten, a_link_shows_only_what_is_complete;
            people: a_profile_is_told_to_the_person_and_to_those_who_share_a_conversation_with_them,
                the_same_profile_again_changes_nothing_and_tells_nobody,
                a_person_is_shown_to_those_they_talk_with_and_their_email_to_themselves_and_staff,
                a_name_that_a_service_said_stays_whatever_a_token_says,
                a_profile_is_told_to_at_most_250_others_those_last_talked_with,
                between_two_of_whom_one_blocks_the_other_nothing_direct_is_sent,
                a_block_is_told_to_ones_own_devices_alone_and_once,
                presence_is_seen_by_those_who_share_a_conversation_unless_it_is_hidden_or_blocked,
                what_the_blocked_wrote_is_seen_in_groups_and_not_found,
                those_whom_one_blocks_are_listed_the_last_first, a_person_blocks_at_most_a_thousand;
            moderation: a_report_is_told_to_staff_once_per_person_and_message,
                of_those_who_decide_a_report_at_once_one_does,
                reports_are_listed_to_staff_the_oldest_first_with_their_messages,
                whoever_is_banned_changes_nothing_and_does_not_arrive_until_the_ban_ends,
                a_ban_is_told_to_the_banned_once_and_closes_their_connections,
                staff_ban_guests_and_admins_ban_everybody;
            jobs: what_the_erased_wrote_keeps_its_number_and_says_nothing_anywhere,
                the_erased_are_nobody_at_once_and_for_good,
                only_oneself_admins_and_services_have_somebody_erased_or_exported,
                a_job_is_taken_by_one_worker_and_by_another_when_that_one_is_not_heard_of,
                an_erasure_that_broke_off_goes_on_where_it_was, what_only_the_erased_had_is_gone,
                an_export_holds_what_is_kept_of_somebody_and_nothing_of_others,
                an_exported_file_is_an_attachment_of_whoever_asked_for_it_for_a_day;
            revocations: a_revocation_is_told_to_the_pods_once_and_read_from_where_they_are,
                of_all_tokens_the_later_moment_counts_and_a_key_counts_once,
                everybody_revokes_their_own_tokens_and_admins_everybodys,
                a_person_has_at_most_a_hundred_single_tokens_revoked,
                what_was_revoked_is_read_in_pages_and_forgotten_an_hour_after_it_is_over;
            feeds: every_participant_is_told_of_a_new_conversation, differences_are_contiguous_and_bounded_by_bytes,
                an_entry_reads_as_it_was_announced,
                an_entry_that_nobody_understands_does_not_stop_its_feed, entries_are_rendered_as_of_today,
                a_foreign_epoch_asks_to_resync, a_number_beyond_the_head_asks_to_resync,
                a_number_below_the_floor_asks_to_resync, heads_come_in_the_order_asked;
            positions: a_person_never_seen_starts_at_the_oldest_entry, a_device_starts_where_it_acknowledged,
                a_device_never_seen_starts_where_the_user_acknowledged, a_device_keeps_the_start_it_was_given,
                since_now_starts_at_the_heads, a_given_cursor_is_continued_however_much_waits,
                too_much_waiting_asks_to_resync, a_cursor_that_cannot_be_continued_is_refused,
                a_new_epoch_refuses_old_cursors, acknowledgements_only_move_forwards,
                an_acknowledgement_beyond_the_head_counts_to_the_head, a_filtered_door_does_not_speak_for_the_user,
                a_thousand_arrivals_are_answered_in_order;
            outbox: one_worker_at_a_time_has_the_turn, the_outbox_names_the_heads_of_what_was_written,
                outbox_rows_go_after_ten_seconds_and_twenty_reads, the_age_of_the_outbox_is_that_of_its_oldest_row,
                another_schema_is_not_used;
        }
    };
    (@tests $bed:expr; $($module:ident: $($name:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let bed: $crate::store::conformance::Bed = $bed.await;
                $crate::store::conformance::$module::$name(&bed).await;
            }
        )+)+
    };
}

/// A store in a database of its own.
pub struct Bed {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Where it is.
    pub url: String,
    console: Console,
    server: Option<Arc<dyn Any + Send + Sync>>,
}

impl Bed {
    /// Brings the empty database at `url` to this build's schema and opens it.
    ///
    /// # Panics
    ///
    /// When it cannot, as everything here does.
    pub async fn new(url: String) -> Self {
        super::migrate(&url).await.expect("an empty database takes the schema");
        let store = super::open(&url, 16).expect("the URL names a database");
        store.check().await.expect("a fresh database is fit");
        let console = Console::open(open::place(&url).expect("the URL names a database"))
            .await
            .expect("the owner may look inside");
        Self { store, url, console, server: None }
    }

    /// Keeps the server of the database running for as long as the bed is used.
    #[must_use]
    pub fn on(mut self, server: Arc<dyn Any + Send + Sync>) -> Self {
        self.server = Some(server);
        self
    }

    /// Changes the database behind the store's back.
    pub async fn execute(&self, sql: &str) {
        self.try_execute(sql).await.expect("the statement is right");
    }

    /// Tries to change the database behind the store's back.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    pub async fn try_execute(&self, sql: &str) -> Result<(), super::StoreError> {
        self.console.execute(sql).await
    }

    /// Asks the database for a number behind the store's back.
    pub async fn number(&self, sql: &str) -> i64 {
        self.console.number(sql).await.expect("the question is right")
    }

    /// Makes every row of the outbox eleven seconds older.
    pub async fn age_outbox(&self) {
        self.console.age_outbox().await.expect("time can be turned");
    }

    /// Makes messages with such a text (a pattern of SQL) as old as that.
    pub async fn backdate(&self, pattern: &str, to: &str) {
        self.console.backdate(pattern, to).await.expect("time can be turned");
    }

    /// Attaches a picture to the messages with this text.
    pub async fn attach(&self, text: &str) {
        self.console.attach(text).await.expect("a message takes attachments");
    }

    /// Starts a group of `owner` and `others`.
    pub async fn group(&self, owner: &Caller, others: &[&str]) -> Conversation {
        let draft = conversation_draft(ConversationType::Group, others);
        self.store.create_conversation(owner, &draft).await.expect("anybody may start a group").value
    }

    /// Sends a text.
    pub async fn send(&self, sender: &Caller, conversation: &Conversation, text: &str) -> Kept<Message> {
        let draft = message_draft(conversation.id, text, None);
        self.store.append(sender, &draft).await.expect("a participant may send")
    }

    /// Makes every attachment that waits for a message a day older.
    pub async fn age_attachments(&self) {
        self.console.age_attachments().await.expect("time can be turned");
    }

    /// Revokes all tokens of `u1`, `u2` and so on, as many people as are wanted.
    pub async fn fill_revocations(&self, people: u32) {
        self.console.fill_revocations(people).await.expect("the tables take it");
    }

    /// Ends the revocations of people of such a name (a pattern of SQL) an hour and a second ago.
    pub async fn expire_revocations(&self, pattern: &str) {
        self.console.expire_revocations(pattern).await.expect("time can be turned");
    }

    /// Today's epoch.
    pub async fn epoch(&self) -> Epoch {
        self.store.epoch().await.expect("there is an epoch")
    }

    /// The head of one feed.
    pub async fn head(&self, channel: &Channel) -> Seq {
        self.store.heads(std::slice::from_ref(channel)).await.expect("heads can be asked").heads[0].1
    }

    /// What came in one feed after a number, in one page of so many bytes.
    pub async fn page(&self, channel: &Channel, after: u64, page_bytes: usize) -> Page {
        let asked =
            DifferencesAfter { epoch: self.epoch().await, after: vec![(channel.clone(), Seq(after))], page_bytes };
        match self.store.differences(&asked).await.expect("differences can be asked") {
            Differences::Page(page) => page,
            Differences::Resync { .. } => panic!("{channel} cannot be continued from {after}"),
        }
    }
}

/// Someone with a token.
#[must_use]
pub fn person(name: &str, role: Role) -> Caller {
    let expires_at = Timestamp::from_micros(i64::MAX);
    Caller { user: user(name), role, name: None, token_id: None, issued_at: None, expires_at }
}

/// A guest with a token.
#[must_use]
pub fn guest(name: &str) -> Caller {
    person(name, Role::Guest)
}

/// A user's id.
#[must_use]
pub fn user(name: &str) -> UserId {
    name.parse().expect("test names are ids")
}

/// A user's own feed.
#[must_use]
pub fn feed_of(name: &str) -> Channel {
    Channel::User(user(name))
}

/// A conversation to be started with `others`.
#[must_use]
pub fn conversation_draft(kind: ConversationType, others: &[&str]) -> ConversationDraft {
    ConversationDraft {
        id: ConversationId::new(),
        kind,
        subject: Some("a subject".to_owned()),
        participants: others.iter().map(|name| user(name)).collect(),
        metadata: serde_json::Map::from_iter([("booking".to_owned(), 7.into())]),
        idempotency_key: None,
        trace: TraceId::random(),
    }
}

/// A message to be sent.
#[must_use]
pub fn message_draft(conversation_id: ConversationId, text: &str, key: Option<&str>) -> MessageDraft {
    MessageDraft {
        id: MessageId::new(),
        conversation_id,
        message_text: text.to_owned(),
        message_type: MessageType::Text,
        client_message_id: key.map(|key| key.parse::<ClientMessageId>().expect("test keys are keys")),
        idempotency_key: None,
        reply_to: None,
        in_thread: None,
        attachment_ids: Vec::new(),
        mentions: Mentions::default(),
        forwards: None,
        priority: MessagePriority::Normal,
        requires_acknowledgement: false,
        draft_version: None,
        trace: TraceId::random(),
    }
}

/// The entry that an envelope of the store carries.
#[must_use]
pub fn entry(envelope: &Envelope) -> &Entry {
    match &envelope.content {
        Content::Entry(entry) => entry,
        other => panic!("the store announces entries, not {other:?}"),
    }
}

/// The event of an entry, with its unread tail left out.
#[must_use]
pub fn event(envelope: &Envelope) -> serde_json::Value {
    let text = [entry(envelope).body.as_bytes().as_ref(), b"}}"].concat();
    serde_json::from_slice(&text).expect("a body becomes JSON once closed")
}
