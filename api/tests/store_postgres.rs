//! What only PostgreSQL promises: row-level security, epochs that follow the server, and waiting that ends.

use std::time::{Duration, Instant};

use api::model::{Change, ChangeDraft, InThread, MessageDraft, PrivacyChange};
use api::store::conformance::{Bed, conversation_draft, feed_of, guest, message_draft, person};
use api::store::{StoreError, migrate, open};
use fleet::eventually::eventually;
use fleet::servers::postgres::Postgres;
use fleet::servers::shared::Shared;
use shared::channel::Role;
use shared::ids::{Seq, TraceId};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Shared by the tests that leave the server as it is.
static SERVER: Shared<Postgres> = Shared::new();

const DEADLINE: Duration = Duration::from_secs(20);

async fn bed() -> Bed {
    let server = SERVER.get(Postgres::start()).await.expect("PostgreSQL is installed");
    Bed::new(server.database().await.expect("a database")).await.on(server)
}

/// A connection as a pod has it, reading for nobody yet.
async fn pod(bed: &Bed) -> PgConnection {
    let mut connection = PgConnection::connect(&bed.url).await.expect("the server runs");
    run(&mut connection, "set role carillon_app").await.expect("the role exists");
    connection
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
}

async fn count(connection: &mut PgConnection, table: &str) -> i64 {
    let sql = AssertSqlSafe(format!("select count(*) from {table}"));
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("a pod may ask")
}

#[tokio::test]
async fn a_query_without_a_where_shows_nothing_that_is_not_the_callers() {
    let bed = bed().await;
    let group = bed.group(&guest("alice"), &["bob"]).await;
    let message = bed.send(&guest("alice"), &group, "secret").await.value;
    bed.execute(&format!(
        "insert into message_attachments (id, message_id, file_name, file_type, file_size, file_url, created_at, uploader_id,
             kind, state)
         values (gen_random_uuid(), '{}', 'a.png', 'image/png', 1, 'x', now(), 'alice', 'image', 'attached')",
        message.id
    ))
    .await;
    bed.execute(
        "insert into message_attachments (id, file_name, file_type, file_size, file_url, created_at, uploader_id, kind,
             expires_at)
         values (gen_random_uuid(), 'b.png', 'image/png', 1, 'x', now(), 'alice', 'image', now())",
    )
    .await;
    bed.execute("insert into feeds values ('all', 3), ('role:staff', 4)").await;
    bed.execute("insert into acknowledgements values ('bob', '', 1, 'guest', 1, 0, 0, now())").await;
    let mut pod = pod(&bed).await;
    let tables = [
        "conversations",
        "conversation_participants",
        "messages",
        "message_attachments",
        "attachment_rows",
        "message_rows",
        "conversation_rows",
        "feeds",
        "entries",
        "acknowledgements",
    ];
    for (who, seen) in [
        ("", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("set carillon.user_id = 'eve'; set carillon.role = 'guest'", [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]),
        // Both see what the message brought; only she sees what none has brought yet.
        ("set carillon.user_id = 'alice'; set carillon.role = 'guest'", [1, 2, 1, 2, 2, 1, 1, 2, 2, 0]),
        ("set carillon.user_id = 'bob'; set carillon.role = 'guest'", [1, 2, 1, 1, 1, 1, 1, 2, 2, 1]),
        ("set carillon.user_id = 'sam'; set carillon.role = 'staff'", [1, 2, 1, 1, 1, 1, 1, 2, 0, 0]),
        ("set carillon.user_id = 'robot'; set carillon.role = 'service'", [1, 2, 1, 1, 1, 1, 1, 1, 0, 0]),
        ("set carillon.user_id = ''; set carillon.role = ''", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        run(&mut pod, who).await.expect("a pod says for whom it reads");
        for (table, rows) in tables.iter().zip(seen) {
            assert_eq!(count(&mut pod, table).await, rows, "{table} for {who:?}");
        }
    }
}

/// Every table, and with `views` every view, that holds somebody's rows: all but what everybody may know.
async fn tables(bed: &Bed, views: bool) -> Vec<String> {
    let mut console = PgConnection::connect(&bed.url).await.expect("the server runs");
    sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind::text in ('r', $1)
         and relname not in ('fleet_state', '_sqlx_migrations') order by relname",
    )
    .bind(if views { "v" } else { "r" })
    .fetch_all(&mut console)
    .await
    .expect("a catalogue")
}

/// Whatever somebody could want to see of others: at least one row in every table.
async fn fill(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let message = bed.send(&alice, &group, "secret").await.value.id;
    let change = async |caller, change| {
        let draft = ChangeDraft { message_id: message, change, trace: TraceId::random() };
        bed.store.change(caller, &draft).await.expect("allowed");
    };
    change(&alice, Change::Edit("more secret".to_owned(), None)).await;
    change(&bob, Change::React("x".to_owned())).await;
    change(&bob, Change::Hide).await;
    bed.attach("more secret").await;
    let mut keyed = message_draft(group.id, "keyed", None);
    keyed.idempotency_key = Some("once".parse().expect("a key"));
    keyed.mentions.mentioned_everyone = true;
    bed.store.append(&alice, &keyed).await.expect("allowed");
    bed.store
        .set_privacy(&bob, &PrivacyChange { receipts: Some(false), ..PrivacyChange::default() })
        .await
        .expect("his");
    bed.execute("insert into acknowledgements values ('bob', '', 1, 'guest', 1, 0, 0, now())").await;
    bed.execute("insert into user_blocks values ('bob', 'eve', now())").await;
    bed.execute(
        "insert into message_reports (id, message_id, reporter_id, reason, created_at)
         select gen_random_uuid(), id, 'bob', 'spam', now() from messages limit 1",
    )
    .await;
    bed.execute(
        "insert into message_acknowledgements (message_id, user_id, created_at) select id, 'bob', now() from messages limit 1",
    )
    .await;
    bed.execute(
        "insert into jobs (id, kind, user_id, requested_by, created_at)
         values (gen_random_uuid(), 'export', 'bob', 'bob', now())",
    )
    .await;
    bed.execute(
        "insert into scheduled_messages (id, sender_id, sender_role, conversation_id, message, send_at, created_at)
         select gen_random_uuid(), 'bob', 'guest', id, '{}', now(), now() from conversations limit 1",
    )
    .await;
    bed.execute(
        "insert into unsent_messages (user_id, conversation_id, message_text, updated_at)
         select 'bob', id, 'not yet', now() from conversations limit 1",
    )
    .await;
    bed.execute(
        "insert into revocations (id, user_id, token_id, revoked_by, revoked_at, expires_at, fleet_seq)
         values (gen_random_uuid(), 'bob', 'phone', 'bob', now(), now(), 1)",
    )
    .await;
    let in_thread = Some(InThread { root: message, also_in_conversation: false });
    let reply = MessageDraft { in_thread, ..message_draft(group.id, "apart", None) };
    bed.store.append(&alice, &reply).await.expect("allowed");
    bed.execute(
        "insert into forwarded_attachments (message_id, attachment_id, place)
         select m.id, a.id, 0 from messages m cross join message_attachments a limit 1",
    )
    .await;
}

#[tokio::test]
async fn the_wrong_person_sees_no_row_of_any_table_and_nobody_writes_any() {
    let bed = bed().await;
    fill(&bed).await;
    let mut pod = pod(&bed).await;
    let mut console = PgConnection::connect(&bed.url).await.expect("the server runs");
    for who in [
        "",
        "set carillon.user_id = 'eve'; set carillon.role = 'guest'",
        // Saying nobody is not saying somebody.
        "set carillon.user_id = ''; set carillon.role = ''",
        "set carillon.user_id = ''; set carillon.role = 'guest'",
    ] {
        run(&mut pod, who).await.expect("a pod says for whom it reads");
        for table in &tables(&bed, true).await {
            let there = count(&mut console, table).await;
            assert!(there > 0, "{table} is empty: fill it, so that there is something to hide");
            let counted = sqlx::query_scalar::<_, i64>(AssertSqlSafe(format!("select count(*) from {table}")));
            match counted.fetch_one(&mut pod).await {
                Ok(seen) => assert_eq!(seen, 0, "{table} shows {seen} of {there} rows to {who:?}"),
                Err(refused) => assert_eq!(sqlstate(&refused).as_deref(), Some("42501"), "{table}: {refused}"),
            }
        }
    }
    // Not even who may see everything.
    run(&mut pod, "set carillon.user_id = 'robot'; set carillon.role = 'service'").await.expect("set");
    for table in &tables(&bed, false).await {
        let column: String = sqlx::query_scalar(
            "select column_name::text from information_schema.columns
             where table_name = $1 and is_identity = 'NO' and is_generated = 'NEVER' order by ordinal_position",
        )
        .bind(table)
        .fetch_one(&mut console)
        .await
        .expect("a table has columns");
        for verb in [
            format!("insert into {table} ({column}) select {column} from {table}"),
            format!("update {table} set {column} = {column}"),
            format!("delete from {table}"),
            format!("truncate {table}"),
        ] {
            let refused = run(&mut pod, &verb).await.expect_err(&verb);
            assert_eq!(sqlstate(&refused).as_deref(), Some("42501"), "{verb}: {refused}");
        }
    }
}

/// The code of what the database refused.
fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.to_string())
}

#[tokio::test]
async fn a_search_without_a_where_finds_nothing_that_is_not_the_callers() {
    let bed = bed().await;
    let group = bed.group(&guest("alice"), &["bob"]).await;
    bed.send(&guest("alice"), &group, "secret").await;
    let mut pod = pod(&bed).await;
    for (who, finds) in [
        ("", 0),
        ("set carillon.user_id = 'eve'; set carillon.role = 'guest'", 0),
        ("set carillon.user_id = 'bob'; set carillon.role = 'guest'", 1),
        ("set carillon.user_id = 'sam'; set carillon.role = 'staff'", 1),
        ("set carillon.user_id = ''; set carillon.role = ''", 0),
    ] {
        run(&mut pod, who).await.expect("a pod says for whom it reads");
        for terms in ["'{secret}', '{f}', '{f}'", "'{}', '{}', '{}'"] {
            let search = format!("carillon_search({terms}, null, null, false, false, null, null, null, null, 9)");
            assert_eq!(count(&mut pod, &search).await, finds, "{terms} for {who:?}");
        }
    }
}

#[tokio::test]
async fn a_pod_writes_nothing_but_through_the_functions() {
    let bed = bed().await;
    let group = bed.group(&guest("alice"), &["bob"]).await;
    let mut pod = pod(&bed).await;
    run(&mut pod, "set carillon.user_id = 'alice'; set carillon.role = 'admin'").await.expect("set");
    let enter = format!(
        "select carillon_enter(array['user:alice'], 'new_message', '{}', null, null, gen_random_uuid(), now())",
        group.id
    );
    let attach = format!("select carillon_attach('alice', '{}', 'text', '{{}}')", group.id);
    for forbidden in [
        "insert into feeds values ('user:alice', 9)",
        "update feeds set seq = 9",
        "update conversation_participants set unread_count = 0",
        "insert into messages (id) select id from messages",
        "delete from entries",
        "select * from outbox",
        "delete from outbox",
        "select * from idempotency_keys",
        "select * from users",
        "select * from user_rows",
        "delete from user_blocks",
        "update jobs set state = 'waiting'",
        "select carillon_refuse_erased('{alice}')",
        "update message_reports set state = 'open'",
        "select carillon_refuse_banned('alice')",
        "select carillon_tell_staff('report.created', gen_random_uuid(), gen_random_uuid(), now())",
        "select carillon_refuse_blocked('alice bob')",
        "select carillon_circle('alice', 9)",
        "select carillon_share_a_conversation('alice', 'bob')",
        "delete from revocations",
        "delete from message_attachments",
        &attach,
        "select carillon_mention(gen_random_uuid(), '{alice}')",
        "select carillon_forward('alice', true, gen_random_uuid(), gen_random_uuid())",
        "update fleet_state set epoch = 1",
        "alter table messages disable row level security",
        "select carillon_take_conversation('alice', true, gen_random_uuid())",
        "select carillon_take_message('alice', true, gen_random_uuid(), true)",
        "select carillon_recount(gen_random_uuid(), 'alice')",
        "select carillon_claim_key('alice', 'messages', 'k', null, gen_random_uuid())",
        &enter,
    ] {
        let refused = run(&mut pod, forbidden).await.expect_err(forbidden);
        assert_eq!(sqlstate(&refused).as_deref(), Some("42501"), "{forbidden}: {refused}");
    }
}

#[tokio::test]
async fn every_table_is_under_row_level_security_and_no_function_has_a_loose_search_path() {
    let bed = bed().await;
    let open = "select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
         and relname not in ('fleet_state', '_sqlx_migrations') and not (relrowsecurity and relforcerowsecurity)";
    assert_eq!(bed.number(open).await, 0);
    let loose = "select count(*) from pg_proc p join pg_roles r on r.oid = p.proowner
         where p.prosecdef and p.proname like 'carillon%'
         and (p.proconfig is null or not p.proconfig::text like '%search_path%' or r.rolcanlogin or r.rolbypassrls)";
    assert_eq!(bed.number(loose).await, 0);
    let able =
        "select count(*) from pg_roles where rolname like 'carillon%' and (rolcanlogin or rolbypassrls or rolsuper)";
    assert_eq!(bed.number(able).await, 0);
}

#[tokio::test]
async fn the_summary_names_what_was_made_and_migrating_twice_is_migrating_once() {
    let bed = bed().await;
    let summary = migrate(&bed.url).await.expect("migrated again");
    for table in ["conversations", "conversation_participants", "messages", "message_attachments"] {
        assert!(summary.tables.iter().any(|name| name == table), "{table}");
    }
    assert!(summary.indexes.len() >= 9 && summary.policies.len() >= 20 && summary.triggers.len() >= 3, "{summary}");
    assert!(summary.functions.iter().any(|name| name == "carillon_send"), "{summary}");
}

#[tokio::test]
async fn an_empty_database_is_not_fit_until_it_is_migrated() {
    let server = SERVER.get(Postgres::start()).await.expect("PostgreSQL is installed");
    // Some database has been migrated, so that the roles exist; this one has not.
    migrate(&server.database().await.expect("a database")).await.expect("migrated");
    let url = server.database().await.expect("a database");
    let store = open(&url, 2).expect("a URL");
    let unfit = store.check().await;
    assert!(matches!(&unfit, Err(StoreError::Unfit(text)) if text.contains("carillon migrate")), "{unfit:?}");
    migrate(&url).await.expect("migrated");
    store.check().await.expect("the same store is fit once the schema is there");
}

#[tokio::test]
async fn commits_that_do_not_last_make_the_database_unfit() {
    let server = std::sync::Arc::new(Postgres::start().await.expect("PostgreSQL is installed"));
    let bed = Bed::new(server.database().await.expect("a database")).await.on(server.clone());
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        bed.execute(&format!("alter system set {setting} = off")).await;
        bed.execute("select pg_reload_conf()").await;
        let unfit = eventually(DEADLINE, async || match bed.store.check().await {
            Err(StoreError::Unfit(text)) => Ok(text),
            other => Err(format!("{setting} is off and the store says {other:?}")),
        })
        .await;
        assert!(unfit.contains(&format!("alter system set {setting} = on")), "{unfit}");
        bed.execute(&format!("alter system reset {setting}")).await;
        bed.execute("select pg_reload_conf()").await;
        eventually(DEADLINE, async || bed.store.check().await).await;
    }
}

#[tokio::test]
async fn a_crash_keeps_the_epoch_and_everything_acknowledged() {
    let server = std::sync::Arc::new(Postgres::start().await.expect("PostgreSQL is installed"));
    let bed = Bed::new(server.database().await.expect("a database")).await.on(server.clone());
    let (alice, epoch) = (guest("alice"), bed.epoch().await);
    let group = bed.group(&alice, &["bob"]).await;
    let mut last = Seq::ZERO;
    for round in 0..2 {
        for _ in 0..20 {
            last = bed.send(&alice, &group, "kept").await.value.seq;
        }
        server.kill_all().await.expect("it runs");
        let down = bed.store.append(&alice, &message_draft(group.id, "into the void", None)).await;
        assert!(matches!(down, Err(StoreError::Unavailable(_))), "round {round}: {down:?}");
        server.start_again().await.expect("it recovers");
        eventually(DEADLINE, async || bed.store.check().await).await;
        assert_eq!(bed.epoch().await, epoch);
        let sent = bed.send(&alice, &group, "after").await;
        assert_eq!(sent.value.seq, last.next(), "nothing acknowledged is lost, and no number is given twice");
    }
}

#[tokio::test]
async fn a_promoted_standby_begins_a_new_epoch() {
    let server = std::sync::Arc::new(Postgres::start().await.expect("PostgreSQL is installed"));
    let bed = Bed::new(server.database().await.expect("a database")).await.on(server.clone());
    let before = bed.epoch().await;
    bed.group(&guest("alice"), &["bob"]).await;
    server.restart_as_standby().await.expect("it starts");
    let standby =
        bed.store.append(&guest("alice"), &message_draft(shared::ids::ConversationId::new(), "?", None)).await;
    assert!(matches!(standby, Err(StoreError::Unavailable(_))), "a standby takes no writes: {standby:?}");
    eventually(DEADLINE, async || bed.try_execute("select pg_promote()").await).await;
    let after = eventually(DEADLINE, async || {
        let sent = bed
            .store
            .create_conversation(&guest("alice"), &conversation_draft(api::model::ConversationType::Group, &["bob"]))
            .await;
        sent.map(|kept| api::store::conformance::entry(&kept.envelopes[0]).epoch)
    })
    .await;
    assert_ne!(after, before);
    assert_eq!(bed.epoch().await, after);
    // Another connection finds it right and leaves it.
    assert_eq!(open(&bed.url, 1).expect("a URL").epoch().await.expect("an epoch"), after);
}

#[tokio::test]
async fn many_connections_that_notice_a_promotion_agree_on_one_epoch() {
    let bed = bed().await;
    bed.execute("update fleet_state set timeline = '00000063'").await;
    let stores: Vec<_> = (0..20).map(|_| open(&bed.url, 1).expect("a URL")).collect();
    let epochs = futures_util::future::join_all(stores.iter().map(|store| store.epoch())).await;
    let epochs: std::collections::HashSet<_> = epochs.into_iter().map(|epoch| epoch.expect("an epoch")).collect();
    assert_eq!(epochs.len(), 1);
}

#[tokio::test]
async fn a_frozen_worker_loses_its_turn() {
    let bed = bed().await;
    let mut frozen = bed.store.take_turn().await.expect("an answer").expect("free");
    frozen.read().await.expect("its own");
    eventually(DEADLINE, async || bed.store.take_turn().await.expect("an answer").ok_or("still held")).await;
    assert!(matches!(frozen.read().await, Err(StoreError::Unavailable(_))), "its connection is gone");
}

#[tokio::test]
async fn what_commits_late_is_announced_all_the_same() {
    let bed = bed().await;
    let slow = bed.group(&guest("alice"), &["bob"]).await;
    let quick = bed.group(&guest("carol"), &["dave"]).await;
    let mut turn = bed.store.take_turn().await.expect("an answer").expect("free");
    // A send takes its row of the outbox first and commits last: whoever remembers the highest id read would skip it.
    let mut late = PgConnection::connect(&bed.url).await.expect("the server runs");
    let send = format!(
        "begin; select carillon_send('alice', false, gen_random_uuid(), '{}', 'late', 'text', null, null, null, null, null, null,
             null, null, 'normal', false, null, true, gen_random_uuid())",
        slow.id
    );
    run(&mut late, &send).await.expect("sent, not committed");
    bed.send(&guest("carol"), &quick, "quick").await;
    let read = turn.read().await.expect("read").heads;
    assert!(read.contains(&(feed_of("dave"), Seq(2))) && !read.contains(&(feed_of("bob"), Seq(2))), "{read:?}");
    run(&mut late, "commit").await.expect("committed");
    let read = turn.read().await.expect("read").heads;
    assert!(read.contains(&(feed_of("bob"), Seq(2))), "{read:?}");
}

#[tokio::test]
async fn a_pod_that_freezes_in_a_send_takes_no_number() {
    let bed = bed().await;
    let group = bed.group(&guest("alice"), &["bob"]).await;
    let mut frozen = PgConnection::connect(&bed.url).await.expect("the server runs");
    let send = format!(
        "begin; select carillon_send('alice', false, gen_random_uuid(), '{}', 'never', 'text', null, null, null, null, null, null,
             null, null, 'normal', false, null, true, gen_random_uuid())",
        group.id
    );
    run(&mut frozen, &send).await.expect("sent, not committed");
    drop(frozen);
    let sent = eventually(DEADLINE, async || {
        bed.store.append(&guest("bob"), &message_draft(group.id, "first", Some("k"))).await
    })
    .await;
    assert_eq!(sent.value.seq, Seq(1));
    assert_eq!(bed.head(&feed_of("alice")).await, Seq(2));
}

#[tokio::test]
async fn a_lock_that_is_not_released_ends_in_unavailable() {
    let bed = bed().await;
    let group = bed.group(&guest("alice"), &["bob"]).await;
    let mut frozen = PgConnection::connect(&bed.url).await.expect("the server runs");
    run(&mut frozen, "begin; select * from conversations for update").await.expect("locked");
    let begun = Instant::now();
    let sent = bed.store.append(&guest("alice"), &message_draft(group.id, "?", None)).await;
    assert!(matches!(sent, Err(StoreError::Unavailable(_))), "{sent:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    run(&mut frozen, "rollback").await.expect("released");
    assert_eq!(bed.send(&guest("alice"), &group, "!").await.value.seq, Seq(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_that_share_their_people_do_not_deadlock() {
    let bed = bed().await;
    // Names that a locale would sort otherwise than bytes do.
    let names = ["a", "B", "c", "D", "e_", "E-", "f.1", "F1"];
    let mut groups = Vec::new();
    for owner in names {
        groups.push((owner, bed.group(&guest(owner), &names).await));
    }
    let senders = groups.iter().flat_map(|(owner, group)| std::iter::repeat_n((owner, group), 10));
    let sending = senders.map(async |(owner, group)| bed.send(&guest(owner), group, "all at once").await);
    futures_util::future::join_all(sending).await;
    assert_eq!(bed.head(&feed_of("B")).await, Seq(8 + 80));
    assert_eq!(bed.number("select deadlocks from pg_stat_database where datname = current_database()").await, 0);
}

#[tokio::test]
async fn a_login_without_rights_is_told_which_roles_to_make() {
    let server = Postgres::start().await.expect("PostgreSQL is installed");
    let url = server.database().await.expect("a database");
    let mut owner = PgConnection::connect(&url).await.expect("the server runs");
    run(&mut owner, "create role plain login").await.expect("made");
    let plain = url.replace("postgres@", "plain@");
    let refused = migrate(&plain).await;
    assert!(
        matches!(&refused, Err(StoreError::Unfit(text)) if text.contains("create role carillon_app")),
        "{refused:?}"
    );
    // With the roles granted and a database of its own it needs no superuser.
    run(
        &mut owner,
        "create role carillon_app; create role carillon_definer; grant carillon_app, carillon_definer to plain",
    )
    .await
    .expect("made");
    run(&mut owner, "create database own owner plain").await.expect("made");
    let own = server.url("own").replace("postgres@", "plain@");
    let bed = Bed::new(own).await;
    let group = bed.group(&person("sam", Role::Staff), &["bob"]).await;
    bed.send(&guest("bob"), &group, "hello").await;
}
