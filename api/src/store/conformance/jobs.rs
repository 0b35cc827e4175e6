//! Promises about handing out and erasing what is kept of somebody.

#![expect(missing_docs, reason = "the names are the promises")]

use shared::access::Caller;
use shared::channel::Role;
use shared::envelope::Envelope;
use shared::ids::{AttachmentId, JobId, ReportId, Seq, TraceId};
use shared::protocol::ErrorCode;
use shared::upstream::{Arrival, Verdict};

use super::{Bed, entry, event, feed_of, guest, message_draft, person, user};
use crate::attachments::model::{Attachment, AttachmentKind, content_url};
use crate::model::{
    BlockDraft, Change, ChangeDraft, ConversationChange, ConversationChangeDraft, ExportFile, ExportLine, ExportPlace,
    Job, JobDraft, JobKind, JobState, MessageDraft, ReportDraft, ReportReason, UserDraft,
};
use crate::store::{BlockPage, Kept, MessagePage, MessagePart, SearchPage, StoreError, UnreadPage};

const ALL: MessagePage = MessagePage { part: MessagePart::Newest { offset: 0 }, limit: 100 };

async fn start(bed: &Bed, caller: &Caller, kind: JobKind, name: &str) -> Result<Kept<Job>, StoreError> {
    let draft = JobDraft { id: JobId::new(), kind, user_id: user(name), trace: TraceId::random() };
    bed.store.start_job(caller, &draft).await
}

/// Works an erasure off, and answers what everybody was told.
async fn work_off(bed: &Bed, id: JobId) -> Vec<Envelope> {
    let (mut told, mut before) = (Vec::new(), 0);
    loop {
        let step = bed.store.erase_next(id).await.expect("a step");
        assert!((before..=step.value.total).contains(&step.value.progress), "{step:?}");
        before = step.value.progress;
        told.extend(step.envelopes);
        if step.value.state == JobState::Done {
            return told;
        }
    }
}

async fn change(bed: &Bed, caller: &Caller, message_id: shared::ids::MessageId, change: Change) {
    let draft = ChangeDraft { message_id, change, trace: TraceId::random() };
    bed.store.change(caller, &draft).await.expect("they may");
}

async fn profile(bed: &Bed, name: &str) -> Result<(), StoreError> {
    let draft = UserDraft {
        id: user(name),
        role: None,
        name: Some("Bobby Secret".to_owned()),
        avatar_url: None,
        email: Some("secret@example.com".to_owned()),
        locale: None,
        time_zone: None,
        trace: TraceId::random(),
    };
    bed.store.put_user(&person("robot", Role::Service), &draft).await.map(drop)
}

pub async fn what_the_erased_wrote_keeps_its_number_and_says_nothing_anywhere(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob", "carol"]).await;
    let mut hers = Vec::new();
    for number in 0..30 {
        let keyed = message_draft(group.id, &format!("secret {number}"), Some(&format!("k{number}")));
        bed.store.append(&bob, &keyed).await.expect("he takes part");
        hers.push(bed.send(&alice, &group, "hers").await.value.id);
    }
    let edited = bed.send(&bob, &group, "secret draft").await.value;
    change(bed, &bob, edited.id, Change::Edit("secret text".to_owned(), None)).await;
    change(bed, &bob, hers[3], Change::React("secret".to_owned())).await;
    change(bed, &alice, hers[3], Change::React("x".to_owned())).await;
    bed.attach("secret 7").await;
    // Said again by somebody else, elsewhere, with what it brought.
    let elsewhere = bed.group(&guest("carol"), &["dave"]).await;
    let brought = bed.store.messages(&alice, group.id, &ALL).await.expect("hers");
    let brought = brought.iter().find(|message| message.message_text == "secret 7").expect("it is there").id;
    let again = MessageDraft { forwards: Some(brought), ..message_draft(elsewhere.id, "", None) };
    let again = bed.store.append(&guest("carol"), &again).await.expect("she sees it").value;
    assert_eq!((again.message_text.as_str(), again.attachments.len()), ("secret 7", 1));
    let job = start(bed, &bob, JobKind::Erase, "bob").await.expect("his own").value;
    assert_eq!((job.state, job.progress, job.total), (JobState::Waiting, 0, 61));
    let told = work_off(bed, job.id).await;
    let gone = bed.store.message(&guest("dave"), again.id).await.expect("it keeps its place");
    assert!(gone.deleted_at.is_some() && gone.message_text.is_empty() && gone.forwarded_from.is_none(), "{gone:?}");
    assert!(gone.attachments.is_empty() && told.iter().any(|told| told.channel == feed_of("dave")));
    assert!(
        bed.store
            .verify_unread(&guest("dave"), &UnreadPage::default())
            .await
            .expect("his")
            .iter()
            .all(|one| one.kept.unread_count == one.counted)
    );
    let messages = bed.store.messages(&alice, group.id, &ALL).await.expect("hers");
    assert_eq!(messages.iter().map(|message| message.seq).collect::<Vec<_>>(), (1..=61).map(Seq).collect::<Vec<_>>());
    for message in &messages {
        let is_his = message.sender_id == bob.user;
        assert_eq!((message.deleted_at.is_some(), message.message_text.is_empty()), (is_his, is_his), "{message:?}");
        assert!(message.attachments.is_empty() && message.client_message_id.is_none());
    }
    let reacted = messages.iter().find(|message| message.id == hers[3]).expect("hers");
    assert_eq!(reacted.reactions.iter().map(|each| each.reaction.as_str()).collect::<Vec<_>>(), ["x"]);
    let deleted: Vec<_> = told.iter().filter(|told| told.channel == feed_of("alice")).collect();
    let kinds = |kind: &str| deleted.iter().filter(|told| event(told)["type"] == kind).count();
    assert_eq!((kinds("message.deleted"), kinds("reaction.deleted"), kinds("member.removed")), (31, 1, 1));
    assert!(deleted.iter().filter(|told| event(told)["type"] == "message.deleted").all(|told| entry(told).redacts));
    // No entry, old or new, says what he wrote.
    let page = bed.page(&feed_of("alice"), 0, usize::MAX / 2).await.entries;
    assert!(page.iter().all(|told| !event(told).to_string().contains("secret")), "{page:?}");
    let search = SearchPage { query: "secret".parse().expect("a query"), after: None, limit: 10 };
    for reader in [&alice, &person("sam", Role::Staff)] {
        assert!(bed.store.search(reader, &search).await.expect("anybody may").is_empty());
    }
    for sql in [
        "select count(*) from messages where sender_id = 'bob' and body_hash is not null",
        "select count(*) from message_versions",
        "select count(*) from message_attachments where state <> 'expired'",
        "select count(*) from conversation_participants where user_id = 'bob' and left_at is null",
    ] {
        assert_eq!(bed.number(sql).await, 0, "{sql}");
    }
    let checks = bed.store.verify_unread(&guest("carol"), &UnreadPage::default()).await.expect("her own");
    let check = checks.iter().find(|check| check.kept.conversation_id == group.id).expect("she is in it");
    assert_eq!((check.kept.unread_count, check.counted), (30, 30));
    assert_eq!(bed.store.job(&bob, job.id).await.expect("his").progress, 61);
    assert!(bed.store.erase_next(job.id).await.expect("it is done").envelopes.is_empty());
}

pub async fn the_erased_are_nobody_at_once_and_for_good(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    profile(bed, "bob").await.expect("services may");
    let kept = start(bed, &person("ada", Role::Admin), JobKind::Erase, "bob").await.expect("admins may");
    let told: Vec<_> = kept.envelopes.iter().map(|told| (event(told)["type"].clone(), told.channel.clone())).collect();
    assert_eq!(told, [("account.erased".into(), feed_of("bob")), ("user.erased".into(), feed_of("alice"))]);
    assert_eq!(kept.envelopes.iter().map(|told| entry(told).closes).collect::<Vec<_>>(), [true, false]);
    assert!(kept.envelopes.iter().all(|told| entry(told).redacts));
    let seen = bed.store.user(&person("ada", Role::Admin), &bob.user).await.expect("admins see all");
    assert!(seen.erased_at.is_some() && seen.name.is_none() && seen.email.is_none(), "{seen:?}");
    let said = bed.page(&feed_of("alice"), 0, usize::MAX / 2).await.entries;
    assert!(said.iter().all(|told| !event(told).to_string().contains("Secret")), "{said:?}");
    let is_erased = |refused: Result<(), StoreError>| {
        assert!(matches!(&refused, Err(StoreError::Erased(id)) if *id == user("bob")), "{refused:?}");
    };
    is_erased(bed.store.append(&bob, &message_draft(group.id, "still here", None)).await.map(drop));
    is_erased(profile(bed, "bob").await);
    is_erased(start(bed, &bob, JobKind::Export, "bob").await.map(drop));
    let group_with = super::conversation_draft(crate::model::ConversationType::Group, &["bob"]);
    is_erased(bed.store.create_conversation(&alice, &group_with).await.map(drop));
    let arrival = Arrival { caller: bob.clone(), device_id: None, since: None };
    let verdict = bed.store.arrive(&[arrival]).await.expect("an answer").remove(0);
    assert_eq!(verdict, Verdict::Denied { code: ErrorCode::Forbidden });
    let again = start(bed, &bob, JobKind::Erase, "bob").await.expect("his own");
    assert!(!again.created && again.envelopes.is_empty() && again.value.id == kept.value.id, "{again:?}");
    work_off(bed, kept.value.id).await;
    let add = ConversationChange::Add(user("bob"), None);
    let add = ConversationChangeDraft { conversation_id: group.id, change: add, trace: TraceId::random() };
    is_erased(bed.store.change_conversation(&alice, &add).await.map(drop));
    let again = start(bed, &bob, JobKind::Erase, "bob").await.expect("his own");
    assert_eq!((again.created, again.value.id, again.value.state), (false, kept.value.id, JobState::Done));
}

pub async fn only_oneself_admins_and_services_have_somebody_erased_or_exported(bed: &Bed) {
    bed.group(&guest("alice"), &["bob"]).await;
    for caller in [guest("alice"), person("sam", Role::Staff)] {
        for kind in [JobKind::Erase, JobKind::Export] {
            let refused = start(bed, &caller, kind, "bob").await;
            assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
        }
    }
    let job = start(bed, &guest("bob"), JobKind::Export, "bob").await.expect("his own").value;
    for caller in [guest("bob"), person("ada", Role::Admin), person("robot", Role::Service)] {
        assert_eq!(bed.store.job(&caller, job.id).await.expect("theirs to see"), job);
    }
    for caller in [guest("alice"), person("sam", Role::Staff)] {
        let refused = bed.store.job(&caller, job.id).await;
        assert!(matches!(refused, Err(StoreError::NoJob(_))), "{refused:?}");
    }
    let other = start(bed, &guest("bob"), JobKind::Erase, "bob").await;
    assert!(matches!(other, Err(StoreError::OtherJob(_))), "one at a time: {other:?}");
}

pub async fn a_job_is_taken_by_one_worker_and_by_another_when_that_one_is_not_heard_of(bed: &Bed) {
    let jobs = [
        start(bed, &guest("alice"), JobKind::Erase, "alice").await.expect("her own").value.id,
        start(bed, &guest("bob"), JobKind::Erase, "bob").await.expect("his own").value.id,
    ];
    let claim = async || bed.store.claim_job().await.expect("an answer").map(|job| (job.id, job.state));
    assert_eq!(claim().await, Some((jobs[0], JobState::Running)));
    assert_eq!(claim().await, Some((jobs[1], JobState::Running)));
    assert_eq!(claim().await, None);
    bed.execute("update jobs set leased_until = created_at where user_id = 'alice'").await;
    assert_eq!(claim().await, Some((jobs[0], JobState::Running)));
    bed.store.keep_job(jobs[0], 0).await.expect("noted");
    for id in jobs {
        work_off(bed, id).await;
    }
    bed.execute("update jobs set leased_until = created_at").await;
    assert_eq!(claim().await, None, "what is done is done");
}

pub async fn an_erasure_that_broke_off_goes_on_where_it_was(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    for _ in 0..3 {
        let group = bed.group(&alice, &["bob"]).await;
        for number in 0..25 {
            bed.send(&bob, &group, &format!("secret {number}")).await;
        }
    }
    let id = start(bed, &bob, JobKind::Erase, "bob").await.expect("his own").value.id;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.extend(bed.store.erase_next(id).await.expect("a step").envelopes);
    }
    let left = "select count(*) from messages where deleted_at is null";
    assert!((1..75).contains(&bed.number(left).await));
    // Two workers that hold the same job do each step once.
    let (one, other) = tokio::join!(work_off(bed, id), work_off(bed, id));
    told.extend(one.into_iter().chain(other));
    assert_eq!(bed.number(left).await, 0);
    let hers: Vec<_> =
        told.iter().filter(|told| told.channel == feed_of("alice")).map(|told| entry(told).seq).collect();
    let once: std::collections::BTreeSet<_> = hers.iter().copied().collect();
    assert_eq!((hers.len(), once.len()), (78, 78), "75 messages and 3 conversations, each told once");
}

pub async fn what_only_the_erased_had_is_gone(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let hers = bed.send(&alice, &group, "hers").await.value;
    let block = async |caller: &Caller, name: &str| {
        let draft = BlockDraft { user_id: user(name), blocks: true, trace: TraceId::random() };
        bed.store.set_block(caller, &draft).await.expect("anybody may");
    };
    block(&bob, "eve").await;
    block(&alice, "bob").await;
    let trace = TraceId::random();
    let note = Some("secret".to_owned());
    let report = ReportDraft { id: ReportId::new(), message_id: hers.id, reason: ReportReason::Other, note, trace };
    bed.store.report(&bob, &report).await.expect("his to see");
    change(bed, &bob, hers.id, Change::Hide).await;
    bed.store.arrive(&[Arrival { caller: bob.clone(), device_id: None, since: None }]).await.expect("an answer");
    let id = start(bed, &bob, JobKind::Erase, "bob").await.expect("his own").value.id;
    work_off(bed, id).await;
    for sql in [
        "select count(*) from user_blocks",
        "select count(*) from message_reports where note is not null",
        "select count(*) from message_hides",
        "select count(*) from acknowledgements where user_id = 'bob'",
    ] {
        assert_eq!(bed.number(sql).await, 0, "{sql}");
    }
    assert!(bed.store.blocks(&alice, &BlockPage { after: None, limit: 9 }).await.expect("her own").is_empty());
}

pub async fn an_export_holds_what_is_kept_of_somebody_and_nothing_of_others(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    profile(bed, "bob").await.expect("services may");
    let group = bed.group(&alice, &["bob"]).await;
    let hers = bed.send(&alice, &group, "hers alone").await.value;
    for number in 0..250 {
        bed.send(&bob, &group, &format!("his {number}")).await;
    }
    let edited = bed.send(&bob, &group, "before").await.value;
    change(bed, &bob, edited.id, Change::Edit("after".to_owned(), None)).await;
    change(bed, &bob, hers.id, Change::React("x".to_owned())).await;
    let gone = bed.send(&bob, &group, "deleted").await.value;
    change(bed, &bob, gone.id, Change::Delete).await;
    let left = bed.group(&alice, &["bob"]).await;
    bed.send(&bob, &left, "his elsewhere").await;
    let remove = ConversationChange::Remove(bob.user.clone());
    let remove = ConversationChangeDraft { conversation_id: left.id, change: remove, trace: TraceId::random() };
    bed.store.change_conversation(&bob, &remove).await.expect("anybody leaves");
    let draft = BlockDraft { user_id: user("eve"), blocks: true, trace: TraceId::random() };
    bed.store.set_block(&bob, &draft).await.expect("anybody may");

    let (mut lines, mut from, mut pages) = (Vec::new(), Some(ExportPlace::default()), 0);
    while let Some(place) = from {
        let page = bed.store.export_page(&bob.user, &place).await.expect("a page");
        lines.extend(page.lines);
        from = page.next;
        pages += 1;
    }
    assert_eq!(pages, 4);
    let count = |fits: fn(&ExportLine) -> bool| lines.iter().filter(|line| fits(line)).count();
    assert!(matches!(&lines[0], ExportLine::Profile(user) if user.email.as_deref() == Some("secret@example.com")));
    assert_eq!(count(|line| matches!(line, ExportLine::Message(_))), 252);
    assert_eq!(count(|line| matches!(line, ExportLine::Conversation { .. })), 2);
    assert_eq!(count(|line| matches!(line, ExportLine::Conversation { left_at: Some(_), .. })), 1);
    assert_eq!(
        count(|line| matches!(line, ExportLine::Version { version, .. } if version.message_text == "before")),
        1
    );
    assert_eq!(count(|line| matches!(line, ExportLine::Reaction { reaction, .. } if reaction == "x")), 1);
    assert_eq!(count(|line| matches!(line, ExportLine::Block(_))), 1);
    let text = serde_json::to_string(&lines).expect("lines are JSON");
    assert!(!text.contains("hers alone") && !text.contains("\"deleted\"") && text.contains("his elsewhere"), "{text}");
}

pub async fn an_exported_file_is_an_attachment_of_whoever_asked_for_it_for_a_day(bed: &Bed) {
    bed.group(&guest("alice"), &["bob"]).await;
    let ada = person("ada", Role::Admin);
    let job = start(bed, &ada, JobKind::Export, "bob").await.expect("admins may").value;
    let id = AttachmentId(job.id.0);
    let attachment = Attachment {
        id,
        file_name: "bob.jsonl".to_owned(),
        file_type: "application/x-ndjson".to_owned(),
        file_size: 7,
        kind: AttachmentKind::File,
        url: content_url(id),
        thumbnail_url: None,
        width: None,
        height: None,
        duration_ms: None,
        waveform: None,
    };
    let file = ExportFile { attachment, sha256: "ab".repeat(32) };
    for _ in 0..2 {
        assert_eq!(bed.store.finish_export(job.id, &file).await.expect("finished").state, JobState::Done);
    }
    assert_eq!(bed.store.attachment(Some(&ada), id).await.expect("hers").shown, file.attachment);
    for other in [guest("bob"), person("sam", Role::Staff)] {
        let refused = bed.store.attachment(Some(&other), id).await;
        assert!(matches!(refused, Err(StoreError::NoAttachment(_))), "{refused:?}");
    }
    assert!(start(bed, &guest("bob"), JobKind::Export, "bob").await.expect("his own").created, "the first is done");
    bed.age_attachments().await;
    assert_eq!(bed.store.expire_attachments(9).await.expect("an answer"), [id]);
}
