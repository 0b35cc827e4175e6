//! Promises about feeds.

#![expect(missing_docs, reason = "the names are the promises")]

use shared::channel::{Channel, Role};
use shared::ids::{Epoch, Seq};
use shared::upstream::{Differences, DifferencesAfter};

use super::{Bed, conversation_draft, entry, event, feed_of, guest};
use crate::model::ConversationType;

pub async fn every_participant_is_told_of_a_new_conversation(bed: &Bed) {
    let draft = conversation_draft(ConversationType::Group, &["bob"]);
    let made = bed.store.create_conversation(&guest("alice"), &draft).await.expect("started");
    let told: Vec<_> = made.envelopes.iter().map(|told| (told.channel.clone(), entry(told).seq)).collect();
    assert_eq!(told, [(feed_of("alice"), Seq(1)), (feed_of("bob"), Seq(1))]);
    let said = event(&made.envelopes[0]);
    assert_eq!(said["type"], "conversation.created");
    assert_eq!(said["data"]["id"], draft.id.to_string());
    assert_eq!(said["data"]["participants"].as_array().map(Vec::len), Some(2));
    assert!(made.envelopes.iter().all(|told| told.trace == draft.trace && entry(told).unread.is_none()));
}

pub async fn differences_are_contiguous_and_bounded_by_bytes(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    for _ in 0..20 {
        bed.send(&alice, &group, &"x".repeat(1_000)).await;
    }
    let (mut position, mut pages) = (0, 0);
    while position < 21 {
        let page = bed.page(&feed_of("bob"), position, 5_000).await;
        let bytes: usize = page.entries.iter().map(|told| told.body().len()).sum();
        assert!(bytes < 5_000 + 1_500, "a page stops once it exceeds its size");
        for told in &page.entries {
            position += 1;
            assert_eq!(entry(told).seq, Seq(position));
        }
        assert_eq!((page.feeds[0].position, page.feeds[0].head), (Seq(position), Seq(21)));
        pages += 1;
    }
    assert!((4..=6).contains(&pages), "{pages} pages");
    assert_eq!(bed.page(&feed_of("bob"), 5, 0).await.entries.len(), 1, "at least one entry comes if there is any");
    assert_eq!(bed.page(&feed_of("bob"), 21, 5_000).await.entries, []);
}

pub async fn an_entry_reads_as_it_was_announced(bed: &Bed) {
    let draft = conversation_draft(ConversationType::Group, &["bob"]);
    let made = bed.store.create_conversation(&guest("alice"), &draft).await.expect("started");
    let sent = bed.send(&guest("alice"), &made.value, "the same on both ways").await;
    let page = bed.page(&feed_of("bob"), 0, 1 << 16).await;
    assert_eq!(page.entries, [made.envelopes[1].clone(), sent.envelopes[1].clone()]);
}

pub async fn entries_are_rendered_as_of_today(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    bed.send(&alice, &group, "a slip of the tongue").await;
    bed.send(&alice, &group, "never mind").await;
    bed.execute("update messages set deleted_at = created_at, version = 2 where seq = 1").await;
    let page = bed.page(&feed_of("bob"), 1, 1 << 16).await;
    let said = event(&page.entries[0]);
    assert_eq!((said["data"]["message_text"].as_str(), said["version"].as_u64()), (Some(""), Some(2)));
    // The count is today's, and says so: it was taken when the head was 3.
    let unread = entry(&page.entries[0]).unread.expect("a message changes a count");
    assert_eq!((unread.count, unread.version), (2, Seq(3)));
}

pub async fn an_entry_that_nobody_understands_does_not_stop_its_feed(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    bed.send(&alice, &group, "before").await;
    bed.execute("update entries set kind = 'of.tomorrow' where seq = 1").await;
    let page = bed.page(&feed_of("bob"), 0, usize::MAX / 2).await;
    let kinds: Vec<_> = page.entries.iter().map(|told| super::event(told)["type"].clone()).collect();
    assert_eq!(kinds, ["of.tomorrow", "new_message"]);
    assert_eq!(super::event(&page.entries[0])["data"]["conversation_id"], group.id.to_string());
}

pub async fn a_foreign_epoch_asks_to_resync(bed: &Bed) {
    bed.group(&guest("alice"), &["bob"]).await;
    let today = bed.epoch().await;
    let asked =
        DifferencesAfter { epoch: Epoch(today.0 ^ 1), after: vec![(feed_of("bob"), Seq(0))], page_bytes: 1 << 16 };
    let answer = bed.store.differences(&asked).await.expect("an answer");
    assert_eq!(answer, Differences::Resync { epoch: today });
}

pub async fn a_number_beyond_the_head_asks_to_resync(bed: &Bed) {
    bed.group(&guest("alice"), &["bob"]).await;
    let epoch = bed.epoch().await;
    for (channel, beyond) in [(feed_of("bob"), 2), (feed_of("nobody"), 1), (Channel::All, u64::MAX)] {
        let asked = DifferencesAfter { epoch, after: vec![(channel, Seq(beyond))], page_bytes: 1 << 16 };
        let answer = bed.store.differences(&asked).await.expect("an answer");
        assert_eq!(answer, Differences::Resync { epoch });
    }
}

pub async fn a_number_below_the_floor_asks_to_resync(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    for _ in 0..5 {
        bed.send(&alice, &group, "old").await;
    }
    bed.execute("update feeds set floor = 3").await;
    bed.execute("delete from entries where seq <= 3").await;
    let epoch = bed.epoch().await;
    let asked = DifferencesAfter { epoch, after: vec![(feed_of("bob"), Seq(2))], page_bytes: 1 << 16 };
    assert_eq!(bed.store.differences(&asked).await.expect("an answer"), Differences::Resync { epoch });
    assert_eq!(bed.page(&feed_of("bob"), 3, 1 << 16).await.entries.len(), 3);
}

pub async fn heads_come_in_the_order_asked(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    bed.send(&alice, &group, "two").await;
    bed.group(&alice, &["carol"]).await;
    let asked = [feed_of("carol"), Channel::Role(Role::Staff), feed_of("alice"), feed_of("nobody"), feed_of("bob")];
    let heads = bed.store.heads(&asked).await.expect("heads");
    assert_eq!(heads.epoch, bed.epoch().await);
    let expected: Vec<_> = asked.into_iter().zip([1, 0, 3, 0, 2].map(Seq)).collect();
    assert_eq!(heads.heads, expected);
}
