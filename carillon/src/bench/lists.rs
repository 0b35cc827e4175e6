//! `bench lists`: how long a list of conversations and a page of messages take where there is a lot of both.

use std::time::Instant;

use sqlx::{Connection as _, PgConnection};

use super::ground::{Pods, Servers};
use super::samples::Samples;
use super::visitors::token;
use super::{Ground, Run, floor};

/// How much there is, and how often it is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Wishes {
    /// Conversations of the one who asks
    #[arg(long, default_value_t = 1_000)]
    pub conversations: u32,

    /// Messages in each of them
    #[arg(long, default_value_t = 1_000)]
    pub messages: u32,

    /// Requests of each kind, one after the other
    #[arg(long, default_value_t = 300)]
    pub requests: usize,
}

/// The path of the request with a number.
type Path<'a> = Box<dyn Fn(usize) -> String + 'a>;

const READER: &str = "bench-reader";

/// Conversations of two, and messages in them, as sending would have left them; two statements instead of a million.
const FILL: [&str; 4] = [
    "insert into conversations (id, type, subject, created_by, last_seq, last_message_at, created_at)
     select gen_random_uuid(), 'guest_guest', 'conversation-' || n, 'bench-reader', MESSAGES, now() - n * interval '1 second',
         now() - interval '1 day'
     from generate_series(1, CONVERSATIONS) n",
    "insert into conversation_participants (conversation_id, user_id, role, joined_at, unread_count)
     select c.id, p.user_id, 'participant', c.created_at, 0
     from conversations c cross join lateral (values ('bench-reader'), ('bench-writer-' || c.subject)) p (user_id)",
    "insert into messages (id, conversation_id, seq, sender_id, message_text, created_at)
     select gen_random_uuid(), c.id, n, 'bench-writer', 'message ' || n, c.created_at + n * interval '1 second'
     from conversations c cross join generate_series(1, MESSAGES) n",
    "analyze",
];

/// Fills a database, and asks a pod for lists and pages.
pub async fn run(run: &mut Run, wishes: &Wishes) -> anyhow::Result<()> {
    let Ground::Fleet(Servers { database, .. }) = &run.ground else {
        run.report.skip("lists: set CARILLON_DATABASE_URL and CARILLON_REDIS_URL to measure them");
        return Ok(());
    };
    let Wishes { conversations, messages, requests } = *wishes;
    let mut connection = PgConnection::connect(database).await?;
    for (number, statement) in FILL.into_iter().enumerate() {
        run.progress(&format!(
            "lists: making {conversations} × {messages} messages, step {} of {}",
            number + 1,
            FILL.len()
        ));
        let sql = statement.replace("CONVERSATIONS", &conversations.to_string());
        let sql = sql.replace("MESSAGES", &messages.to_string());
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
    }
    let ids: Vec<uuid::Uuid> = sqlx::query_scalar("select id from conversations").fetch_all(&mut connection).await?;
    connection.close().await?;

    let pods = Pods::start(&run.ground).await?;
    let (http, token) = (reqwest::Client::new(), token(&pods.secret, READER)?);
    let base = format!("http://{}/api/v1/messages/conversations", pods.api);
    let paths: [(&str, Path<'_>); 4] = [
        ("50 conversations, the first page", Box::new(|_| format!("{base}?limit=50"))),
        ("50 conversations after 900", Box::new(|_| format!("{base}?limit=50&offset=900"))),
        ("50 messages, the newest", Box::new(|number| format!("{base}/{}/messages?limit=50", ids[number % ids.len()]))),
        (
            "50 messages in the middle",
            Box::new(|number| {
                format!("{base}/{}/messages?limit=50&before_seq={}", ids[number % ids.len()], messages / 2)
            }),
        ),
    ];
    for (what, path) in paths {
        run.progress(&format!("lists: {what}"));
        let mut times = Samples::default();
        for number in 0..requests {
            let begun = Instant::now();
            let answer = http.get(path(number)).bearer_auth(&token).send().await?.error_for_status()?;
            answer.bytes().await?;
            times.add(begun.elapsed());
        }
        run.report.add(floor::times("lists", what, &times));
    }
    Ok(())
}
