//! Promises about search.

#![expect(missing_docs, reason = "the names are the promises")]

use shared::access::Caller;
use shared::channel::Role;
use shared::ids::TraceId;

use super::{Bed, guest, person};
use crate::model::{Change, ChangeDraft, Conversation};
use crate::store::{Hit, SearchPage};

async fn page(bed: &Bed, caller: &Caller, query: &str, limit: u32, after: Option<&Hit>) -> Vec<Hit> {
    let query = query.parse().unwrap_or_else(|error| panic!("{query}: {error}"));
    let after = after.map(|hit| (hit.message.created_at.as_micros(), hit.message.id));
    bed.store.search(caller, &SearchPage { query, after, limit }).await.expect("a query finds something or nothing")
}

/// The texts that a query finds.
async fn found(bed: &Bed, caller: &Caller, query: &str) -> Vec<String> {
    let hits = page(bed, caller, query, 100, None).await;
    hits.into_iter().map(|hit| hit.message.message_text).collect()
}

/// A group in which alice has said these, the last one now.
async fn said(bed: &Bed, texts: &[&str]) -> Conversation {
    let group = bed.group(&guest("alice"), &["bob"]).await;
    for text in texts {
        bed.send(&guest("alice"), &group, text).await;
    }
    group
}

pub async fn a_search_finds_only_what_the_caller_may_see(bed: &Bed) {
    let group = said(bed, &["our secret"]).await;
    let elsewhere = bed.group(&guest("eve"), &["carol"]).await;
    bed.send(&guest("eve"), &elsewhere, "her secret").await;
    let in_group = format!("in:{}", group.id);
    for (who, sees, sees_in_group) in [
        (guest("alice"), vec!["our secret"], 1),
        (guest("bob"), vec!["our secret"], 1),
        (guest("eve"), vec!["her secret"], 0),
        (guest("nobody"), vec![], 0),
        (person("maria", Role::Staff), vec!["her secret", "our secret"], 1),
        (person("root", Role::Admin), vec!["her secret", "our secret"], 1),
        (person("robot", Role::Service), vec!["her secret", "our secret"], 1),
    ] {
        for query in ["secret", "has:link -nothing", "after:2020-01-01"] {
            let expected = if query == "has:link -nothing" { Vec::new() } else { sees.clone() };
            assert_eq!(found(bed, &who, query).await, expected, "{query} by {who:?}");
        }
        for query in [in_group.clone(), format!("{in_group} secret"), "from:alice".to_owned()] {
            assert_eq!(found(bed, &who, &query).await.len(), sees_in_group, "{query} by {who:?}");
        }
    }
    let hits = page(bed, &guest("bob"), "secret", 1, None).await;
    assert_eq!(hits[0].conversation_subject.as_deref(), Some("a subject"));
    bed.execute("update conversation_participants set left_at = joined_at where user_id = 'bob'").await;
    assert!(found(bed, &guest("bob"), "secret").await.is_empty(), "who has left finds nothing");
}

pub async fn deleted_messages_are_never_found(bed: &Bed) {
    let group = said(bed, &["wine one https://a.example", "wine two https://b.example"]).await;
    bed.execute("update messages set deleted_at = created_at where seq = 1").await;
    let inside = format!("in:{}", group.id);
    for query in ["wine", "one", "w*", "\"wine one\"", "has:link", "from:alice", "after:2020-01-01", &inside] {
        for who in [guest("bob"), person("maria", Role::Staff)] {
            let found = found(bed, &who, query).await;
            let expected: &[&str] =
                if query == "one" || query == "\"wine one\"" { &[] } else { &["wine two https://b.example"] };
            assert_eq!(found, expected, "{query} by {who:?}");
        }
    }
    bed.execute("update messages set deleted_at = null where seq = 1").await;
    assert_eq!(found(bed, &guest("bob"), "one").await.len(), 1, "what is restored is found again");
}

pub async fn what_one_has_hidden_is_found_by_others_only(bed: &Bed) {
    let group = said(bed, &["wine one"]).await;
    let message_id = bed.send(&guest("alice"), &group, "wine two").await.value.id;
    let hide = ChangeDraft { message_id, change: Change::Hide, trace: TraceId::random() };
    bed.store.change(&guest("bob"), &hide).await.expect("his to see");
    assert_eq!(found(bed, &guest("bob"), "wine").await, ["wine one"]);
    assert_eq!(found(bed, &guest("alice"), "wine").await, ["wine two", "wine one"]);
}

pub async fn an_edited_text_is_found_by_its_new_words_only(bed: &Bed) {
    said(bed, &["dinner at seven", "see http://example.org"]).await;
    bed.execute("update messages set message_text = 'supper at eight', version = 2 where seq = 1").await;
    bed.execute("update messages set message_text = 'see nothing', version = 2 where seq = 2").await;
    let alice = guest("alice");
    for gone in ["dinner", "seven", "\"at seven\"", "din*", "has:link"] {
        assert!(found(bed, &alice, gone).await.is_empty(), "{gone}");
    }
    for query in ["supper", "eight", "\"at eight\"", "sup*"] {
        assert_eq!(found(bed, &alice, query).await, ["supper at eight"], "{query}");
    }
}

pub async fn words_match_whatever_their_case_and_their_accents(bed: &Bed) {
    let texts =
        ["Crème BRÛLÉE", "foo-bar_baz, e.g. 12:30 at https://example.org/x?y=1", "ΟΔΟΣ Йод Straße", "你好 🔔 x2"];
    said(bed, &texts).await;
    for (query, index) in [
        ("CREME", 0),
        ("brûlée creme", 0),
        ("\"crème brulee\"", 0),
        ("bru*", 0),
        ("foo-bar", 1),
        ("bar", 1),
        ("\"foo bar\"", 1),
        ("\"bar ba\"", 9),
        ("\"foo baz\"", 9),
        ("\"bar foo\"", 9),
        ("12:30", 1),
        ("example.org", 1),
        ("\"https://example.org/x\"", 1),
        ("xampl*", 9),
        ("οδοΣ*", 2),
        ("йод", 2),
        ("иод", 9),
        ("STRAßE", 2),
        ("你好", 3),
        ("你*", 3),
        ("X2", 3),
        ("creme -brulee", 9),
        ("creme foo", 9),
    ] {
        let expected: Vec<_> = texts.get(index).into_iter().copied().collect();
        assert_eq!(found(bed, &guest("bob"), query).await, expected, "{query}");
    }
}

pub async fn operators_narrow_what_is_found(bed: &Bed) {
    let first = said(bed, &["wine from alice", "wine at HTTPS://example.org", "wine in a picture"]).await;
    bed.send(&guest("bob"), &first, "wine from bob").await;
    let second = said(bed, &["wine elsewhere"]).await;
    // One minute of 2020 after another, so that there is something to be before and after of.
    for (minute, text) in
        ["wine from alice", "wine at%", "wine in%", "wine from bob", "wine elsewhere"].iter().enumerate()
    {
        bed.backdate(text, &format!("2020-01-01T00:0{minute}:00Z")).await;
    }
    bed.attach("wine in a picture").await;
    let (inside, elsewhere) = (format!("wine in:{}", first.id), format!("in:{} wine", second.id));
    for (query, expected) in [
        ("wine", &["elsewhere", "from bob", "in a picture", "at HTTPS://example.org", "from alice"][..]),
        ("from:bob", &["from bob"]),
        ("from:Bob", &[]),
        ("wine from:alice -picture", &["elsewhere", "at HTTPS://example.org", "from alice"]),
        ("has:link", &["at HTTPS://example.org"]),
        ("has:attachment", &["in a picture"]),
        ("has:attachment has:link", &[]),
        (&inside, &["from bob", "in a picture", "at HTTPS://example.org", "from alice"]),
        (&elsewhere, &["elsewhere"]),
        ("before:2020-01-01T00:01:00Z", &["from alice"]),
        ("wine after:2020-01-01T00:03:00Z", &["elsewhere", "from bob"]),
        ("after:2020-01-01T02:02:00+02:00 before:2020-01-01T00:03:00Z", &["in a picture"]),
        ("before:2020-01-01", &[]),
        ("wine after:2020-01-02", &[]),
        ("-wine from:alice", &[]),
    ] {
        let expected: Vec<_> = expected.iter().map(|text| format!("wine {text}")).collect();
        for who in [guest("alice"), person("maria", Role::Staff)] {
            assert_eq!(found(bed, &who, query).await, expected, "{query} by {who:?}");
        }
    }
}

pub async fn pages_of_a_search_neither_repeat_nor_skip(bed: &Bed) {
    let texts: Vec<String> = (0..25).map(|number| format!("wine {number}")).collect();
    let group = said(bed, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    // Many at the same moment, so that only their ids tell them apart.
    bed.execute("update messages set created_at = (select min(created_at) from messages) where seq > 5").await;
    let (mut seen, mut last) = (Vec::new(), None);
    loop {
        let hits = page(bed, &guest("bob"), "wine", 4, last.as_ref()).await;
        let Some(end) = hits.last() else { break };
        last = Some(end.clone());
        seen.extend(hits.into_iter().map(|hit| hit.message.message_text));
        // What is said meanwhile is newer than everything that is still to come.
        bed.send(&guest("alice"), &group, "wine of today").await;
    }
    let all = found(bed, &guest("bob"), "wine -today").await;
    assert_eq!((seen.len(), &seen), (25, &all));
}

pub async fn abuse_of_the_query_language_finds_nothing_and_breaks_nothing(bed: &Bed) {
    said(bed, &["harmless"]).await;
    for query in [
        "'); drop table messages; --x",
        "x' | 'harmless",
        "x|harmless",
        "!x&harmless",
        "x\\'harmless",
        "\"x:*A\"",
        "1:30|harmless:*",
        "(x",
        "((((x))))",
        "x)",
        "nothing NOT x",
        "nothing OR harmless",
        "x NEAR(harmless)",
        "\"x NEAR/3 y",
        "{message_text}:x \"message_text:harmless\"",
        "message_text.harmless",
        "^x",
        "x + y",
        "x\u{301}\u{345} \u{345}x",
        "x%_",
        "½ ² x",
        "हिन्दी",
        "x\u{202e}\u{200b}y",
        "harmless x**",
        "a<->b",
        "\u{1d7d8}\u{1d7d9}\u{2460}",
        "\u{345}",
        &"x".repeat(256),
        &"ﷺ".repeat(256),
        &"x ".repeat(16),
        &"x* ".repeat(16),
    ] {
        for who in [guest("bob"), person("maria", Role::Staff)] {
            let found = found(bed, &who, query).await;
            assert!(found.is_empty(), "{query} by {who:?} found {found:?}");
        }
    }
    assert_eq!(found(bed, &guest("bob"), "harmless").await.len(), 1);
}

pub async fn every_text_can_be_kept_however_long_its_words(bed: &Bed) {
    let different: String = (0..8000)
        .filter_map(|number| char::from_u32(0x4e00 + number))
        .fold(String::new(), |text, char| text + &format!("{char} "));
    let texts = [
        format!("{} needle", "x".repeat(16_000)),
        format!("{} needle", "語".repeat(16_000)),
        format!("{} needle", "e\u{301}\u{302}".repeat(5_000)),
        format!("{different} needle"),
        "needle ".repeat(2_000),
    ];
    said(bed, &texts.each_ref().map(String::as_str)).await;
    assert_eq!(found(bed, &guest("bob"), "needle").await.len(), texts.len());
}

pub async fn somebody_in_many_conversations_finds_what_is_in_any_of_them_and_no_other(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    // Beyond a hundred, PostgreSQL goes another way.
    for number in 0..101 {
        let group = bed.group(&alice, &["bob"]).await;
        if number % 50 == 0 {
            bed.send(&alice, &group, &format!("needle {number}")).await;
        }
    }
    let elsewhere = bed.group(&alice, &["carol"]).await;
    bed.send(&alice, &elsewhere, "needle elsewhere").await;
    assert_eq!(found(bed, &bob, "needle").await, ["needle 100", "needle 50", "needle 0"]);
    assert_eq!(found(bed, &bob, "from:alice").await.len(), 3);
    assert!(found(bed, &bob, &format!("needle in:{}", elsewhere.id)).await.is_empty());
}
