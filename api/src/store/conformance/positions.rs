//! Promises about where devices start and what they acknowledge.

#![expect(missing_docs, reason = "the names are the promises")]

use shared::channel::Role;
use shared::cursor::{Cursor, Positions};
use shared::ids::{Epoch, Seq};
use shared::protocol::ErrorCode;
use shared::upstream::{Acknowledgement, Arrival, ResyncReason, Verdict};

use super::{Bed, guest, person, user};

/// Gives bob a feed of so many entries, and the shared feeds of guests and of all five each.
async fn entries_for_bob(bed: &Bed, messages: usize) {
    let group = bed.group(&guest("alice"), &["bob"]).await;
    for _ in 1..messages {
        bed.send(&guest("alice"), &group, "hello").await;
    }
    bed.execute("insert into feeds (channel, seq) values ('role:guest', 5), ('all', 5)").await;
}

/// Bob connects.
async fn arrive(bed: &Bed, device: Option<&str>, since: Option<String>) -> Verdict {
    let device_id = device.map(|device| device.parse().expect("a device id"));
    let arrival = Arrival { caller: guest("bob"), device_id, since };
    bed.store.arrive(&[arrival]).await.expect("an answer").remove(0)
}

fn cursor(epoch: Epoch, positions: Positions) -> Cursor {
    Cursor { epoch, owner: user("bob"), role: Role::Guest, positions }
}

fn at(user: u64, role: u64, all: u64) -> Positions {
    Positions { user: Seq(user), role: Seq(role), all: Seq(all) }
}

/// Where delivery starts, and whether that continues something.
fn start(verdict: &Verdict) -> (Positions, bool) {
    match verdict {
        Verdict::Arrived { start, resumed, .. } => (*start, *resumed),
        other => panic!("not arrived: {other:?}"),
    }
}

fn resync(verdict: &Verdict) -> ResyncReason {
    match verdict {
        Verdict::Resync { reason, .. } => *reason,
        other => panic!("no resync: {other:?}"),
    }
}

async fn acknowledge(bed: &Bed, device: Option<&str>, positions: Positions, unfiltered: bool) {
    let device_id = device.map(|device| device.parse().expect("a device id"));
    let (user, role, epoch) = (user("bob"), Role::Guest, bed.epoch().await);
    let acknowledgement = Acknowledgement { user, role, device_id, epoch, positions, unfiltered };
    bed.store.acknowledge(&[acknowledgement]).await.expect("noted");
}

pub async fn a_person_never_seen_starts_at_the_oldest_entry(bed: &Bed) {
    entries_for_bob(bed, 3).await;
    // The shared feeds begin where they are: what was announced before bob came is none of his.
    assert_eq!(start(&arrive(bed, None, None).await), (at(0, 5, 5), false));
    bed.execute("update feeds set seq = 9 where channel = 'all'").await;
    // From then on he is somebody who misses things.
    assert_eq!(start(&arrive(bed, None, None).await), (at(0, 5, 5), true));
    bed.execute("update feeds set floor = 2 where channel = 'user:bob'").await;
    assert_eq!(start(&arrive(bed, Some("phone"), None).await), (at(2, 5, 5), true));
}

pub async fn a_device_starts_where_it_acknowledged(bed: &Bed) {
    entries_for_bob(bed, 6).await;
    acknowledge(bed, Some("phone"), at(2, 5, 4), true).await;
    acknowledge(bed, Some("desktop"), at(5, 5, 5), true).await;
    assert_eq!(start(&arrive(bed, Some("phone"), None).await), (at(2, 5, 4), true));
    assert_eq!(start(&arrive(bed, Some("desktop"), None).await), (at(5, 5, 5), true));
}

pub async fn a_device_never_seen_starts_where_the_user_acknowledged(bed: &Bed) {
    entries_for_bob(bed, 6).await;
    acknowledge(bed, Some("phone"), at(2, 5, 5), true).await;
    acknowledge(bed, None, at(4, 5, 5), true).await;
    assert_eq!(start(&arrive(bed, Some("desktop"), None).await), (at(4, 5, 5), true));
    assert_eq!(start(&arrive(bed, None, None).await), (at(4, 5, 5), true));
}

pub async fn a_device_keeps_the_start_it_was_given(bed: &Bed) {
    entries_for_bob(bed, 6).await;
    acknowledge(bed, Some("phone"), at(2, 5, 5), true).await;
    assert_eq!(start(&arrive(bed, Some("desktop"), None).await), (at(2, 5, 5), true));
    acknowledge(bed, Some("phone"), at(6, 5, 5), true).await;
    // The phone went on; what the desktop has not had still waits for it.
    assert_eq!(start(&arrive(bed, Some("desktop"), None).await), (at(2, 5, 5), true));
}

pub async fn since_now_starts_at_the_heads(bed: &Bed) {
    entries_for_bob(bed, 6).await;
    assert_eq!(start(&arrive(bed, Some("phone"), Some("now".to_owned())).await), (at(6, 5, 5), false));
    // Another device of his still gets what waits.
    assert_eq!(start(&arrive(bed, Some("desktop"), None).await).0, at(0, 5, 5));
}

pub async fn a_given_cursor_is_continued_however_much_waits(bed: &Bed) {
    entries_for_bob(bed, 1).await;
    bed.execute("update feeds set seq = 5000 where channel = 'user:bob'").await;
    let since = cursor(bed.epoch().await, at(1, 5, 5));
    assert_eq!(start(&arrive(bed, None, Some(since.to_string())).await), (at(1, 5, 5), true));
}

pub async fn too_much_waiting_asks_to_resync(bed: &Bed) {
    entries_for_bob(bed, 1).await;
    bed.execute("update feeds set seq = 1000 where channel = 'user:bob'").await;
    assert_eq!(start(&arrive(bed, Some("phone"), None).await), (at(0, 5, 5), false));
    bed.execute("update feeds set seq = 1001 where channel = 'user:bob'").await;
    let verdict = arrive(bed, Some("phone"), None).await;
    assert_eq!(resync(&verdict), ResyncReason::TooMuch);
    assert!(matches!(verdict, Verdict::Resync { heads, .. } if heads == at(1001, 5, 5)));
}

pub async fn a_cursor_that_cannot_be_continued_is_refused(bed: &Bed) {
    entries_for_bob(bed, 6).await;
    bed.execute("update feeds set floor = 2 where channel = 'user:bob'").await;
    let today = bed.epoch().await;
    let good = cursor(today, at(2, 5, 5));
    for (cursor, reason) in [
        (Cursor { owner: user("alice"), ..good.clone() }, ResyncReason::Owner),
        (Cursor { role: Role::Staff, ..good.clone() }, ResyncReason::Owner),
        (Cursor { epoch: Epoch(today.0 ^ 1), ..good.clone() }, ResyncReason::Epoch),
        (cursor(today, at(7, 5, 5)), ResyncReason::Ahead),
        (cursor(today, at(6, 5, 6)), ResyncReason::Ahead),
        (cursor(today, at(1, 5, 5)), ResyncReason::Retention),
    ] {
        assert_eq!(resync(&arrive(bed, Some("phone"), Some(cursor.to_string())).await), reason, "{cursor:?}");
    }
    let nonsense = arrive(bed, None, Some("nonsense".to_owned())).await;
    assert_eq!(nonsense, Verdict::Denied { code: ErrorCode::BadRequest });
    assert_eq!(start(&arrive(bed, None, Some(good.to_string())).await), (at(2, 5, 5), true));
}

pub async fn a_new_epoch_refuses_old_cursors(bed: &Bed) {
    entries_for_bob(bed, 3).await;
    let yesterday = bed.epoch().await;
    acknowledge(bed, Some("phone"), at(2, 5, 5), true).await;
    let since = cursor(yesterday, at(2, 5, 5)).to_string();
    let today = crate::store::new_epoch(&bed.url).await.expect("a new epoch begins");
    assert_ne!(today, yesterday);
    assert_eq!(bed.epoch().await, today);
    assert_eq!(resync(&arrive(bed, None, Some(since)).await), ResyncReason::Epoch);
    assert_eq!(resync(&arrive(bed, Some("phone"), None).await), ResyncReason::Epoch);
    // What a gateway still passes on from before is ignored; what it says now counts.
    let (user, role, positions) = (user("bob"), Role::Guest, at(3, 5, 5));
    let old = Acknowledgement { user, role, device_id: None, epoch: yesterday, positions, unfiltered: true };
    bed.store.acknowledge(&[old]).await.expect("ignored");
    assert_eq!(resync(&arrive(bed, None, None).await), ResyncReason::Epoch);
    acknowledge(bed, Some("phone"), at(1, 5, 5), true).await;
    assert_eq!(start(&arrive(bed, Some("phone"), None).await), (at(1, 5, 5), true));
}

pub async fn acknowledgements_only_move_forwards(bed: &Bed) {
    entries_for_bob(bed, 6).await;
    acknowledge(bed, Some("phone"), at(4, 3, 5), true).await;
    acknowledge(bed, Some("phone"), at(2, 4, 1), true).await;
    assert_eq!(start(&arrive(bed, Some("phone"), None).await), (at(4, 4, 5), true));
    assert_eq!(start(&arrive(bed, None, None).await), (at(4, 4, 5), true));
}

pub async fn an_acknowledgement_beyond_the_head_counts_to_the_head(bed: &Bed) {
    entries_for_bob(bed, 2).await;
    acknowledge(bed, Some("phone"), at(u64::MAX, 7, 6), true).await;
    assert_eq!(start(&arrive(bed, Some("phone"), None).await), (at(2, 5, 5), true));
}

pub async fn a_filtered_door_does_not_speak_for_the_user(bed: &Bed) {
    entries_for_bob(bed, 4).await;
    acknowledge(bed, Some("bell"), at(4, 5, 5), false).await;
    assert_eq!(start(&arrive(bed, Some("bell"), None).await), (at(4, 5, 5), true));
    assert_eq!(start(&arrive(bed, Some("phone"), None).await).0, at(0, 5, 5));
}

pub async fn a_thousand_arrivals_are_answered_in_order(bed: &Bed) {
    entries_for_bob(bed, 3).await;
    let arrivals: Vec<_> = (0..1_000)
        .map(|n| {
            let caller = if n % 10 == 0 { guest("bob") } else { person(&format!("u{n}"), Role::Staff) };
            Arrival { caller, device_id: Some(format!("d{}", n % 3).parse().expect("a device id")), since: None }
        })
        .collect();
    let verdicts = bed.store.arrive(&arrivals).await.expect("answers");
    assert_eq!(verdicts.len(), 1_000);
    for (n, verdict) in verdicts.iter().enumerate() {
        let Verdict::Arrived { heads, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(*heads, if n % 10 == 0 { at(3, 5, 5) } else { at(0, 0, 5) });
    }
    assert_eq!(bed.number("select count(*) from users where role = 'staff'").await, 900);
}
