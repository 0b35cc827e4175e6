//! `bench sends`: messages a second through one api pod, beside what the database alone takes of the same function from as many
//! connections; and what row-level security costs it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use api::model::{ConversationDraft, ConversationType, Mentions, MessageDraft, MessagePriority, MessageType};
use api::store::Store;
use serde_json::json;
use shared::access::Caller;
use shared::channel::Role;
use shared::ids::{ConversationId, MessageId, TraceId};
use shared::time::Timestamp;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use super::ground::{Pods, Servers};
use super::report::{Figure, Target};
use super::visitors::token;
use super::{Ground, Run};

/// How much is sent.
#[derive(Debug, Clone, clap::Args)]
pub struct Wishes {
    /// Connections that send at the same time, each in a conversation of two
    #[arg(long, default_value_t = 16)]
    pub senders: usize,

    /// Seconds of each round
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,

    /// Rounds of both by turns; each figure is that of its best round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
}

/// Every table under row-level security gives it up, or takes it back; that it is forced says which tables these are.
const SECURITY: &str = "do $$ declare name text; begin
    for name in select oid::regclass::text from pg_class
        where relnamespace = 'public'::regnamespace and relkind = 'r' and relforcerowsecurity
    loop execute format('alter table %s VERB row level security', name); end loop; end $$";

/// Measures the database alone and the pod, by turns, and then the database alone without row-level security.
pub async fn run(run: &mut Run, wishes: &Wishes) -> anyhow::Result<()> {
    let Ground::Fleet(Servers { database, .. }) = &run.ground else {
        run.report.skip("sends: set CARILLON_DATABASE_URL and CARILLON_REDIS_URL to measure them");
        return Ok(());
    };
    let database = database.clone();
    let store = api::store::open(&database, u32::try_from(wishes.senders)?)?;
    let pods = Pods::start(&run.ground).await?;
    let senders = senders(&*store, &pods.secret, wishes.senders).await?;
    let (mut alone, mut through, mut insecure) = (0.0_f64, 0.0_f64, 0.0_f64);
    for number in 1..=wishes.rounds {
        run.progress(&format!("sends: {} connections, round {number} of {}", wishes.senders, wishes.rounds));
        alone = alone.max(round(wishes, &senders, database_alone(&store)).await?);
        through = through.max(round(wishes, &senders, through_the_pod(&pods)).await?);
        secure(&database, false).await?;
        insecure = insecure.max(round(wishes, &senders, database_alone(&store)).await?);
        secure(&database, true).await?;
    }
    let figure = |what: &str, value| Figure::new("sends", what, value, "/s");
    run.report.add([
        figure("sends, the database alone without row-level security", insecure),
        figure("sends, the database alone", alone)
            .of("the same without row-level security", insecure)
            .should_be(Target::RatioAtLeast(0.8)),
        figure("sends over REST, commit included", through)
            .of("the database alone", alone)
            .should_be(Target::RatioAtLeast(0.6)),
    ]);
    Ok(())
}

/// Somebody who sends, and where.
#[derive(Clone)]
struct Sender {
    caller: Caller,
    token: String,
    conversation: ConversationId,
}

async fn senders(store: &dyn Store, secret: &str, count: usize) -> anyhow::Result<Vec<Sender>> {
    let expires_at = Timestamp::from_micros(Timestamp::now().as_micros() + 3_600_000_000);
    let mut senders = Vec::with_capacity(count);
    for number in 0..count {
        let user = format!("bench-sender-{number}").parse()?;
        let caller = Caller { user, role: Role::Guest, name: None, token_id: None, issued_at: None, expires_at };
        let draft = ConversationDraft {
            id: ConversationId::new(),
            kind: ConversationType::Direct,
            subject: None,
            participants: vec![format!("bench-recipient-{number}").parse()?],
            metadata: serde_json::Map::new(),
            idempotency_key: None,
            trace: TraceId::random(),
        };
        let conversation = store.create_conversation(&caller, &draft).await?.value.id;
        let token = token(secret, caller.user.as_str())?;
        senders.push(Sender { caller, token, conversation });
    }
    Ok(senders)
}

/// Sends one message.
type Send =
    Arc<dyn Fn(Sender) -> futures_util::future::BoxFuture<'static, anyhow::Result<()>> + std::marker::Send + Sync>;

/// Sends a second, when each sender sends the next one as soon as the last is answered.
async fn round(wishes: &Wishes, senders: &[Sender], send: Send) -> anyhow::Result<f64> {
    let (begun, lasts) = (Instant::now(), Duration::from_secs_f64(wishes.seconds));
    let mut sending = JoinSet::new();
    for sender in senders {
        let (sender, send) = (sender.clone(), Arc::clone(&send));
        sending.spawn(async move {
            let mut sent = 0_u32;
            while begun.elapsed() < lasts {
                send(sender.clone()).await?;
                sent += 1;
            }
            anyhow::Ok(sent)
        });
    }
    let sent: u32 = sending.join_all().await.into_iter().sum::<anyhow::Result<u32>>()?;
    Ok(f64::from(sent) / begun.elapsed().as_secs_f64())
}

fn database_alone(store: &Arc<dyn Store>) -> Send {
    let store = Arc::clone(store);
    Arc::new(move |Sender { caller, conversation, .. }| {
        let store = Arc::clone(&store);
        Box::pin(async move {
            let draft = MessageDraft {
                id: MessageId::new(),
                conversation_id: conversation,
                message_text: "what somebody said".to_owned(),
                message_type: MessageType::Text,
                client_message_id: None,
                idempotency_key: None,
                reply_to: None,
                in_thread: None,
                attachment_ids: Vec::new(),
                mentions: Mentions::default(),
                forwards: None,
                priority: MessagePriority::default(),
                requires_acknowledgement: false,
                draft_version: None,
                trace: TraceId::random(),
            };
            store.append(&caller, &draft).await?;
            Ok(())
        })
    })
}

fn through_the_pod(pods: &Pods) -> Send {
    let http = reqwest::Client::new();
    let url: Arc<str> = format!("http://{}/api/v1/messages/messages", pods.api).into();
    Arc::new(move |Sender { token, conversation, .. }| {
        let draft = json!({ "conversation_id": conversation, "message_text": "what somebody said" });
        let request = http.post(&*url).bearer_auth(token).json(&draft);
        Box::pin(async move {
            let answer = request.send().await?;
            if answer.status() != 201 {
                bail!("a send was answered with {}", answer.status());
            }
            answer.bytes().await?;
            Ok(())
        })
    })
}

/// Turns row-level security on or off, in the database that was made for this run.
async fn secure(database: &str, on: bool) -> anyhow::Result<()> {
    let sql = SECURITY.replace("VERB", if on { "enable" } else { "disable" });
    let mut connection = PgConnection::connect(database).await.context("the database is gone")?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
    Ok(connection.close().await?)
}
