//! How PostgreSQL finds what is asked of it most: no query of a hot path looks through a large table.
//!
//! The store is asked, and the server says how it went about it (`auto_explain`): the plans are those of the queries as they are,
//! of the statements within functions among them, under row-level security, on a database with much in it that is the same each
//! time. `docs/queries.md` shows them; with `CARILLON_WRITE_PLANS=1` in the environment this test writes them there.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::model::{InThread, MarkerDraft, MarkerMove, MessageDraft, ThreadChange, ThreadChangeDraft};
use api::search::Query;
use api::store::conformance::{Bed, feed_of, guest, message_draft, user};
use api::store::{ConversationPage, MessagePage, MessagePart, SearchPage, Store, ThreadPage, UnreadPage, open};
use fleet::eventually::eventually;
use fleet::servers::postgres::Postgres;
use shared::channel::{Channel, Role};
use shared::cursor::Positions;
use shared::ids::{ConversationId, Seq, TraceId};
use shared::upstream::{Acknowledgement, Arrival, DifferencesAfter};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

const DEADLINE: Duration = Duration::from_secs(20);

/// What may be looked through: one row, or what is read whole and kept small.
const SMALL: [&str; 3] = ["fleet_state", "outbox", "outbox_readings"];

/// Indexes that need not be asked anything: one is of rows of the outbox, the other may be read in its order until a page is full.
const OF_THE_OUTBOX: &str = "outbox_unread";
const IN_ORDER: &str = "messages_by_age";

/// What stands before the plans in the document.
const MARK: &str = "<!-- What follows is written by api/tests/plans.rs. -->\n";

/// One statement, and how the server went about it.
struct Plan {
    statement: String,
    lines: Vec<String>,
}

/// A database with much in it, of which the server says how it goes about what is asked.
struct Ground {
    server: Postgres,
    url: String,
}

impl Ground {
    async fn filled() -> Self {
        let server = Postgres::start().await.expect("PostgreSQL is installed");
        let bed = Bed::new(server.database().await.expect("a database")).await;
        let ground = Self { url: bed.url.clone(), server };
        ground.run(include_str!("plans/fill.sql")).await;
        ground.run("vacuum (analyze)").await;
        for setting in [
            "session_preload_libraries = 'auto_explain'",
            "auto_explain.log_min_duration = 0",
            "auto_explain.log_nested_statements = on",
        ] {
            ground.set(setting).await;
        }
        ground
    }

    async fn run(&self, sql: &str) {
        let mut console = PgConnection::connect(&self.url).await.expect("the server runs");
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut console).await.expect("the statements are right");
    }

    /// Sets something for all later connections.
    async fn set(&self, setting: &str) {
        let database = self.url.rsplit('/').next().expect("rsplit always yields");
        self.run(&format!("alter database {database} set {setting}")).await;
    }

    /// The store, on one connection: what it asks, the server is asked one after the other.
    fn store(&self) -> Arc<dyn Store> {
        open(&self.url, 1).expect("the URL names a database")
    }

    /// The number that stands for a version of PostgreSQL.
    async fn version(&self) -> String {
        let mut console = PgConnection::connect(&self.url).await.expect("the server runs");
        let version: String =
            sqlx::query_scalar("show server_version").fetch_one(&mut console).await.expect("a version");
        version.split('.').next().expect("split always yields").to_owned()
    }

    /// How the server goes about what is asked by `ask`, once a plan of each of these statements is there.
    async fn plans(&self, store: &dyn Store, wanted: &[&str], ask: impl Future<Output = ()>) -> Vec<Plan> {
        store.epoch().await.expect("the server runs");
        let before = self.server.printed().len();
        ask.await;
        eventually(DEADLINE, async || {
            let plans = read(&self.server.printed()[before..]);
            let is_there = |wanted: &&&str| plans.iter().any(|plan| plan.statement.contains(**wanted));
            match wanted.iter().find(|wanted| !is_there(wanted)) {
                Some(missing) => Err(format!("the server did not say how it went about {missing}")),
                None => Ok(plans),
            }
        })
        .await
    }
}

/// Reads the plans in what a server has printed.
fn read(printed: &str) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut lines = printed.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.ends_with("  plan:") {
            continue;
        }
        let (mut statement, mut steps) = (String::new(), Vec::new());
        while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
            let line = &line[1..];
            if steps.is_empty() && !line.contains("  (cost=") {
                statement.push_str(line);
                statement.push(' ');
            } else {
                steps.push(plain(line));
            }
        }
        let words: Vec<_> = statement.trim_start_matches("Query Text: ").split_whitespace().collect();
        plans.push(Plan { statement: words.join(" "), lines: steps });
    }
    plans
}

/// A step without what it is thought to cost, and without the values that were asked for.
fn plain(line: &str) -> String {
    let line = line.split_once("  (cost=").map_or(line, |(step, _)| step);
    let mut plain = String::new();
    for (number, part) in line.split('\'').enumerate() {
        // Names of kinds and roles stay: they say which rule it is.
        let is_value = number % 2 == 1 && part.contains(|letter: char| letter.is_ascii_digit());
        plain.push_str(if number > 0 { "'" } else { "" });
        plain.push_str(if is_value { "…" } else { part });
    }
    plain
}

/// What is asked for, in words; the statements that show it; and all plans there were.
type Shown = (&'static str, &'static [&'static str], Vec<Plan>);

/// Asks for everything that is asked for on a hot path.
async fn asked(ground: &Ground) -> Vec<Shown> {
    let (store, alice) = (ground.store(), guest("alice"));
    let place: ConversationId =
        number(ground, "select md5('conversation 3')::uuid::text").await.parse().expect("an id");
    let list = ConversationPage { limit: 51, ..ConversationPage::ALL };
    let after = Some((1_767_400_000_000_000, place));
    let page = MessagePage { part: MessagePart::Newest { offset: 0 }, limit: 51 };
    let feeds = [feed_of("alice"), Channel::Role(Role::Guest), Channel::All];
    let epoch = store.epoch().await.expect("there is one");
    let reading = DifferencesAfter {
        epoch,
        after: feeds.iter().map(|feed| (feed.clone(), Seq(100))).collect(),
        page_bytes: 65_536,
    };
    let search = async |text: &str| {
        let query: Query = text.parse().expect("a query");
        let page = SearchPage { query, after: None, limit: 51 };
        assert!(!store.search(&guest("alice"), &page).await.expect("found").is_empty(), "{text}");
    };
    let mut shown: Vec<Shown> = Vec::new();
    macro_rules! show {
        ($what:literal, $wanted:expr, $asked:expr) => {
            let wanted: &'static [&'static str] = $wanted;
            shown.push((
                $what,
                wanted,
                ground
                    .plans(&*store, wanted, async {
                        $asked;
                    })
                    .await,
            ));
        };
    }
    show!(
        "The first page of one's conversations",
        &["from conversation_participants me"],
        assert_eq!(store.conversations(&alice, &list).await.expect("hers").len(), 51)
    );
    show!(
        "A later page of them",
        &["from conversation_participants me"],
        assert_eq!(
            store.conversations(&alice, &ConversationPage { after, ..list.clone() }).await.expect("hers").len(),
            51
        )
    );
    show!(
        "A page of messages",
        &["select c.last_seq from conversations", "from message_rows m"],
        assert_eq!(store.messages(&alice, place, &page).await.expect("hers").len(), 51)
    );
    let root = number(ground, "select md5('message 3 1')::uuid::text").await.parse().expect("an id");
    show!(
        "A page of a thread",
        &["from message_rows m where m.id", "m.thread_root_id = $1"],
        assert_eq!(store.thread(&alice, root, &page).await.expect("hers").1.len(), 2)
    );
    show!(
        "The threads of a conversation",
        &["from threads t join message_rows m"],
        assert_eq!(
            store
                .threads(&alice, place, &ThreadPage { following: false, after: None, limit: 51 })
                .await
                .expect("hers")
                .len(),
            51
        )
    );
    show!(
        "What came in feeds after a cursor",
        &["left join feeds f on f.channel = a.channel", "select * from entries x"],
        store.differences(&reading).await.expect("an answer")
    );
    show!("The heads of feeds", &["from unnest(p_channels)"], store.heads(&feeds).await.expect("heads"));
    show!(
        "The beat: what was written lately, read and taken out of the outbox",
        &["update outbox o", "cross join unnest(o.channels", "delete from outbox"],
        store.take_turn().await.expect("an answer").expect("nobody else's").read().await.expect("heads")
    );
    show!(
        "Devices that connect: where they stand",
        &["cross join fleet_state s left join feeds u"],
        store.arrive(&[Arrival { caller: guest("person-7"), device_id: None, since: None }]).await.expect("an answer")
    );
    let positions = Positions { user: Seq(20), role: Seq(0), all: Seq(0) };
    let received = Acknowledgement {
        user: alice.user.clone(),
        role: Role::Guest,
        device_id: None,
        epoch,
        positions,
        unfiltered: true,
    };
    show!(
        "What devices have received",
        &["insert into acknowledgements"],
        store.acknowledge(&[received]).await.expect("taken")
    );
    show!(
        "Whether somebody takes part",
        &["select c.last_seq from conversations", "from privacy_settings", "carillon_blocked_pairs("],
        assert!(store.participates(&alice, place).await.expect("an answer").is_some())
    );
    show!(
        "Of whom somebody sees whether they are here",
        &["from unnest(p_askers, p_trusted, p_people)"],
        assert_eq!(
            store.sees_presence(&[(&alice, &user("person-20")), (&alice, &user("nobody"))]).await.expect("an answer"),
            [true, false]
        )
    );
    show!(
        "Counts of what is unread",
        &["from conversation_participants p join mention_counts", "from follower_rows"],
        store.unread(&alice).await.expect("hers")
    );
    show!(
        "The same counted anew, a page of it",
        &["join recounts r"],
        assert_eq!(
            store.verify_unread(&alice, &UnreadPage { after: None, limit: Some(51) }).await.expect("hers").len(),
            51
        )
    );
    show!(
        "Reading: the marker moves",
        &[
            "from conversation_participants p where p.conversation_id = p_conversation and p.user_id = p_caller",
            "from recounts r"
        ],
        store
            .mark(
                &alice,
                &MarkerDraft {
                    conversation_id: place,
                    to: MarkerMove::ReadUpTo(Some(Seq(498))),
                    trace: TraceId::random()
                }
            )
            .await
            .expect("hers")
    );
    show!("Searching for a rare word", &["from messages m where m.deleted_at is null"], search("lighthouse").await);
    show!("Searching for a common word", &["from messages m where m.deleted_at is null"], search("fox").await);
    let mut draft = message_draft(place, "hello", Some("first"));
    draft.idempotency_key = Some("once".parse().expect("a key"));
    show!(
        "Sending: its keys are looked up, its conversation and everybody in it are locked, and it is counted",
        &[
            "insert into idempotency_keys",
            "m.client_message_id = p_key",
            "for no key update ) held",
            "update conversation_participants p set unread_count",
        ],
        store.append(&alice, &draft).await.expect("sent")
    );
    let in_thread = Some(InThread { root, also_in_conversation: false });
    let reply = MessageDraft { in_thread, ..message_draft(place, "so", None) };
    show!(
        "Answering in a thread",
        &["insert into threads as t", "insert into thread_followers", "update thread_followers f set unread_count"],
        store.append(&alice, &reply).await.expect("sent")
    );
    let change = ThreadChange::ReadUpTo(None);
    show!(
        "Reading a thread",
        &["update thread_followers f set last_read_seq", "from thread_recounts r"],
        store.change_thread(&alice, &ThreadChangeDraft { root, change, trace: TraceId::random() }).await.expect("hers")
    );
    show!(
        "Sending again by key: what it made",
        &["from idempotency_keys k where k.caller = p_caller"],
        assert!(!store.append(&alice, &draft).await.expect("the first").created)
    );
    shown
}

async fn number(ground: &Ground, sql: &str) -> String {
    let mut console = PgConnection::connect(&ground.url).await.expect("the server runs");
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut console).await.expect("the question is right")
}

/// What of a plan looks through a large table: row by row, or by an index of which it asks nothing. Pods forbid the first where there
/// is any index, and would show the second.
fn looks_through(plan: &Plan) -> Option<&str> {
    let word_after = |line: &str, words: &str| {
        Some(line.split_once(words)?.1.split_whitespace().next().unwrap_or_default().to_owned())
    };
    let lines = plan.lines.iter().zip(plan.lines.iter().skip(1).map(|next| next.trim_start()).chain([""]));
    let mut wrong = lines.filter(|(line, next)| {
        let table = word_after(line, "Scan on ").or_else(|| word_after(line, " on ")).unwrap_or_default();
        let in_order = word_after(line, " using ").filter(|index| index != IN_ORDER);
        let index = word_after(line, "Bitmap Index Scan on ").or(in_order);
        let is_whole = line.contains("Seq Scan on ")
            || index.is_some_and(|index| !next.starts_with("Index Cond: ") && index != OF_THE_OUTBOX);
        is_whole && !SMALL.contains(&table.as_str())
    });
    wrong.next().map(|(line, _)| line.as_str())
}

#[test]
fn a_plan_that_looks_through_a_table_is_seen() {
    let plan =
        |lines: &[&str]| Plan { statement: String::new(), lines: lines.iter().map(ToString::to_string).collect() };
    for whole in [
        ["Limit", "  ->  Seq Scan on messages m"],
        ["Index Scan using messages_pkey on messages m", "  Filter: (seq > 1)"],
        ["Bitmap Heap Scan on messages", "  ->  Bitmap Index Scan on messages_by_words"],
        ["BitmapAnd", "  ->  Bitmap Index Scan on messages_by_age"],
    ] {
        assert!(looks_through(&plan(&whole)).is_some(), "{whole:?}");
    }
    for found in [
        ["Index Scan using messages_pkey on messages m", "  Index Cond: (id = $1)"],
        ["Limit", "  ->  Index Scan using messages_by_age on messages m"],
        ["Seq Scan on outbox o", "  Filter: (epoch = $0)"],
    ] {
        assert_eq!(looks_through(&plan(&found)), None);
    }
}

#[tokio::test]
async fn no_query_of_a_hot_path_looks_through_a_large_table_and_the_document_shows_how_they_are_found() {
    let ground = Ground::filled().await;
    let shown = asked(&ground).await;
    let mut document = format!("{MARK}\nPostgreSQL {}.\n", ground.version().await);
    for (what, wanted, plans) in &shown {
        let _ = write!(document, "\n## {what}\n");
        for plan in plans {
            assert_eq!(looks_through(plan), None, "{what}: {}\n{}", plan.statement, plan.lines.join("\n"));
            if wanted.iter().any(|wanted| plan.statement.contains(wanted)) {
                let _ = write!(document, "\n```\n{}\n\n{}\n```\n", plan.statement, plan.lines.join("\n"));
            }
        }
    }
    compare(&document);
}

/// As after a restore, which brings no statistics along, until the server looks by itself.
#[tokio::test]
async fn no_query_of_a_hot_path_looks_through_a_large_table_where_nothing_was_analysed_yet() {
    let ground = Ground::filled().await;
    ground
        .run("delete from pg_statistic; update pg_class set reltuples = -1 where relnamespace = 'public'::regnamespace")
        .await;
    for (what, _, plans) in &asked(&ground).await {
        for plan in plans {
            assert_eq!(looks_through(plan), None, "{what}: {}\n{}", plan.statement, plan.lines.join("\n"));
        }
    }
}

/// Compares the plans with the document, or writes them there. Another version of PostgreSQL may go about it otherwise.
fn compare(plans: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/queries.md");
    let document = std::fs::read_to_string(&path).expect("docs/queries.md is there");
    let (words, written) = document.split_at(document.find(MARK).expect("it says where plans begin"));
    if std::env::var_os("CARILLON_WRITE_PLANS").is_some() {
        std::fs::write(&path, format!("{words}{plans}")).expect("it can be written");
        return;
    }
    let version = |text: &str| text.lines().find(|line| line.starts_with("PostgreSQL")).map(str::to_owned);
    if version(written) != version(plans) {
        let headings =
            |text: &str| text.lines().filter(|line| line.starts_with("##")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(headings(written), headings(plans), "CARILLON_WRITE_PLANS=1 writes docs/queries.md anew");
        println!("not compared with docs/queries.md, which is of another version of PostgreSQL");
        return;
    }
    for (written, found) in written.lines().zip(plans.lines()) {
        assert_eq!(written, found, "docs/queries.md; CARILLON_WRITE_PLANS=1 writes it anew");
    }
    assert_eq!(written.lines().count(), plans.lines().count(), "CARILLON_WRITE_PLANS=1 writes docs/queries.md anew");
}
