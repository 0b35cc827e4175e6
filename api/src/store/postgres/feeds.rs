//! Feeds and positions in PostgreSQL.
//!
//! Everything here is asked by the fleet itself, for people whose tokens were checked before: functions of the database answer,
//! since a pod may read no feed but its caller's. Each answer is read from one moment.

use async_trait::async_trait;
use shared::access::Caller;
use shared::channel::Channel;
use shared::envelope::Envelope;
use shared::ids::ConversationId;
use shared::upstream::{Acknowledgement, Arrival, Differences, DifferencesAfter, Heads, Verdict};
use sqlx::FromRow as _;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use super::{PostgresStore, messaging, reading};
use crate::model::Privacy;
use crate::store::arrival::{self, PositionRow, StandingRow};
use crate::store::page::{self, EntryRow, FeedRow};
use crate::store::rows::{self, ParticipantRow, epoch, number, seq};
use crate::store::{Feeds, StoreError};

#[async_trait]
impl Feeds for PostgresStore {
    async fn heads(&self, channels: &[Channel]) -> Result<Heads, StoreError> {
        let names: Vec<String> = channels.iter().map(Channel::to_string).collect();
        let (life, seqs): (i64, Option<Vec<i64>>) =
            sqlx::query_as("select life, seqs from carillon_heads($1)").bind(names).fetch_one(&self.pool).await?;
        let heads = channels.iter().cloned().zip(seqs.unwrap_or_default().into_iter().map(seq));
        Ok(Heads { epoch: epoch(life), heads: heads.collect() })
    }

    async fn differences(&self, after: &DifferencesAfter) -> Result<Differences, StoreError> {
        let (names, numbers): (Vec<String>, Vec<i64>) =
            after.after.iter().map(|(channel, seq)| (channel.to_string(), number(*seq))).unzip();
        if names.is_empty() {
            let today = sqlx::query_scalar("select epoch from fleet_state").fetch_one(&self.pool).await?;
            return page::differences(after, today, &[], Vec::new());
        }
        let rows: Vec<PgRow> = sqlx::query("select * from carillon_differences($1, $2, $3, $4)")
            .bind(names)
            .bind(numbers)
            .bind(page::most_entries(after.page_bytes))
            .bind(i64::try_from(after.page_bytes).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        let (mut today, mut feeds, mut entries) = (None, Vec::new(), Vec::new());
        for row in &rows {
            // A row without a number is the feed itself; its entries follow it.
            match sqlx::Row::try_get(row, "seq")? {
                None::<i64> => {
                    today = Some(sqlx::Row::try_get(row, "life")?);
                    feeds.push(FeedRow::from_row(row)?);
                }
                Some(_) => entries.push(EntryRow::from_row(row)?),
            }
        }
        let today = today.ok_or_else(|| StoreError::broken("a feed that was asked has no row"))?;
        page::differences(after, today, &feeds, entries)
    }

    async fn arrive(&self, arrivals: &[Arrival]) -> Result<Vec<Verdict>, StoreError> {
        let users: Vec<&str> = arrivals.iter().map(|arrival| arrival.caller.user.as_str()).collect();
        let roles: Vec<&str> = arrivals.iter().map(|arrival| arrival.caller.role.as_str()).collect();
        let device = |arrival: &Arrival| arrival.device_id.as_ref().map_or(String::new(), ToString::to_string);
        let devices: Vec<String> = arrivals.iter().map(device).collect();
        let standings: Vec<StandingRow> = sqlx::query_as("select * from carillon_standings($1, $2, $3)")
            .bind(users)
            .bind(roles)
            .bind(devices)
            .fetch_all(&self.pool)
            .await?;
        let verdicts: Vec<_> = arrivals.iter().zip(&standings).map(|pair| arrival::judge(pair.0, pair.1)).collect();
        let traces = arrival::traces(arrivals, &standings, &verdicts);
        sqlx::query("select carillon_note_users($1), carillon_advance($2, false)")
            .bind(Json(&traces.users))
            .bind(Json(&traces.starts))
            .execute(&self.pool)
            .await?;
        // Each call locks its rows in order; two in one statement could cross with acknowledgements that come meanwhile.
        sqlx::query("select carillon_advance($1, true)").bind(Json(&traces.firsts)).execute(&self.pool).await?;
        Ok(verdicts)
    }

    async fn participates(&self, caller: &Caller, conversation: ConversationId) -> Result<Option<Privacy>, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let seen = messaging::last_seq_if_seen(&mut transaction, caller, conversation).await?;
        let mut shows = reading::privacy(&mut transaction, caller).await?;
        let blocked: Option<bool> = sqlx::query_scalar(
            "select (carillon_blocked_pairs(
                 array[split_part(direct_pair, ' ', 1)], array[split_part(direct_pair, ' ', 2)]))[1]
             from conversations where id = $1",
        )
        .bind(conversation.0)
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        shows.signs &= blocked != Some(true);
        Ok(seen.map(|_| shows))
    }

    async fn acknowledge(&self, acknowledgements: &[Acknowledgement]) -> Result<Vec<Envelope>, StoreError> {
        let positions = arrival::acknowledged(acknowledgements);
        let mut reached = self.receive(&positions).await;
        if messaging::is_deadlock(&reached) {
            reached = self.receive(&positions).await;
        }
        rows::receipts(reached?.into_iter().map(|row| row.0))
    }
}

impl PostgresStore {
    async fn receive(&self, positions: &[PositionRow]) -> Result<Vec<Json<ParticipantRow>>, sqlx::Error> {
        sqlx::query_scalar("select * from carillon_receive($1)").bind(Json(positions)).fetch_all(&self.pool).await
    }
}
