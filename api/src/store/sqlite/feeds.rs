//! Feeds and positions in SQLite.
//!
//! Everything here is asked by the fleet itself, for people whose tokens were checked before. Each answer is read from one
//! moment.

use async_trait::async_trait;
use shared::access::Caller;
use shared::channel::Channel;
use shared::cursor::{Feed, channel_of};
use shared::envelope::Envelope;
use shared::ids::ConversationId;
use shared::upstream::{Acknowledgement, Arrival, Differences, DifferencesAfter, Heads, Verdict};
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{SqliteStore, messaging, now, people, reading, today, writing};
use crate::model::Privacy;
use crate::store::arrival::{self, PositionRow, StandingRow};
use crate::store::page::{self, EntryRow, FeedRow};
use crate::store::rows::{self, epoch, number, seq};
use crate::store::{Feeds, StoreError};

#[async_trait]
impl Feeds for SqliteStore {
    async fn heads(&self, channels: &[Channel]) -> Result<Heads, StoreError> {
        let mut transaction = self.read().await?;
        let epoch = epoch(today(&mut transaction).await?);
        let mut heads = Vec::with_capacity(channels.len());
        for channel in channels {
            heads.push((channel.clone(), seq(feed(&mut transaction, channel).await?.head)));
        }
        Ok(Heads { epoch, heads })
    }

    async fn differences(&self, after: &DifferencesAfter) -> Result<Differences, StoreError> {
        let mut transaction = self.read().await?;
        let today = today(&mut transaction).await?;
        let mut feeds = Vec::with_capacity(after.after.len());
        let mut entries = Vec::new();
        let most = page::most_entries(after.page_bytes);
        for (ordinal, (channel, from)) in (0_i64..).zip(&after.after) {
            feeds.push(feed(&mut transaction, channel).await?);
            let left = most - i64::try_from(entries.len()).unwrap_or(most);
            if left > 0 {
                entries.extend(entries_after(&mut transaction, ordinal, channel, number(*from), left).await?);
            }
        }
        page::differences(after, today, &feeds, entries)
    }

    async fn arrive(&self, arrivals: &[Arrival]) -> Result<Vec<Verdict>, StoreError> {
        let mut transaction = self.write().await?;
        let mut standings = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            standings.push(standing(&mut transaction, arrival).await?);
        }
        let verdicts: Vec<_> = arrivals.iter().zip(&standings).map(|pair| arrival::judge(pair.0, pair.1)).collect();
        let traces = arrival::traces(arrivals, &standings, &verdicts);
        advance(&mut transaction, &traces.starts).await?;
        advance(&mut transaction, &traces.firsts).await?;
        writing::note_users(&mut transaction, &traces.users).await?;
        transaction.commit().await?;
        Ok(verdicts)
    }

    async fn participates(&self, caller: &Caller, conversation: ConversationId) -> Result<Option<Privacy>, StoreError> {
        let mut transaction = self.read().await?;
        let seen = messaging::last_seq_if_seen(&mut transaction, caller, conversation).await?;
        let mut shows = reading::privacy(&mut transaction, caller).await?;
        let pair: Option<Option<String>> = sqlx::query_scalar("select direct_pair from conversations where id = $1")
            .bind(conversation.0)
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some((one, other)) = pair.flatten().as_deref().and_then(|pair| pair.split_once(' ')) {
            shows.signs &= !people::are_blocked(&mut transaction, one, other).await?;
        }
        Ok(seen.map(|_| shows))
    }

    async fn acknowledge(&self, acknowledgements: &[Acknowledgement]) -> Result<Vec<Envelope>, StoreError> {
        let mut transaction = self.write().await?;
        let positions = arrival::acknowledged(acknowledgements);
        let reached = reached(&mut transaction, &positions).await?;
        advance(&mut transaction, &positions).await?;
        let mut moved = Vec::new();
        for (conversation, user, seq) in reached {
            let delivered = sqlx::query(
                "update conversation_participants set last_delivered_seq = $3, version = version + 1
                 where conversation_id = $1 and user_id = $2 and left_at is null and last_delivered_seq < $3",
            );
            let delivered = delivered.bind(conversation).bind(&user).bind(seq).execute(&mut *transaction).await?;
            if delivered.rows_affected() > 0 {
                moved.push(reading::participant_row(&mut transaction, conversation, &user).await?);
            }
        }
        transaction.commit().await?;
        rows::receipts(moved.into_iter())
    }
}

async fn feed(connection: &mut SqliteConnection, channel: &Channel) -> Result<FeedRow, StoreError> {
    let found = sqlx::query_as("select seq as head, floor from feeds where channel = $1")
        .bind(channel.to_string())
        .fetch_optional(connection)
        .await?;
    Ok(found.unwrap_or(FeedRow { head: 0, floor: 0 }))
}

/// How far people will have received each conversation once their positions stand there. A person as a whole, whose device is '',
/// has received what any of their devices has.
async fn reached(
    connection: &mut SqliteConnection,
    positions: &[PositionRow],
) -> Result<Vec<(Uuid, String, i64)>, StoreError> {
    let reached = sqlx::query_as(
        "with moved as (
             select value ->> 'user_id' as user_id, coalesce(k.user_seq, 0) as before, value ->> 'user_seq' as after
             from json_each($1)
             join fleet_state s on s.epoch = value ->> 'epoch'
             left join acknowledgements k
                 on k.user_id = value ->> 'user_id' and k.device_id = '' and k.epoch = s.epoch
             where value ->> 'device_id' = ''
         )
         select m.conversation_id, a.user_id, max(m.seq)
         from moved a
         join entries e on e.channel = 'user:' || a.user_id and e.seq > a.before and e.seq <= a.after
             and e.kind = 'new_message'
         join messages m on m.id = e.message_id and m.sender_id <> a.user_id
         group by m.conversation_id, a.user_id",
    );
    Ok(reached.bind(sqlx::types::Json(positions)).fetch_all(connection).await?)
}

/// At most so many entries after a number. An entry counts its owner's unread messages as of today.
async fn entries_after(
    connection: &mut SqliteConnection,
    ordinal: i64,
    channel: &Channel,
    after: i64,
    most: i64,
) -> Result<Vec<EntryRow>, StoreError> {
    let owner = match channel {
        Channel::User(user) => Some(user.as_str()),
        _ => None,
    };
    let rows = sqlx::query_as(
        "select $1 as ordinal, e.seq, e.kind, e.created_at, e.trace,
             case when e.kind like 'message.%' or e.kind like 'reaction.%' or e.kind = 'new_message' then
                 iif(m.in_main_line = 0, t.unread_count, p.unread_count)
             end as unread,
             mine.left_at, e.user_id, e.conversation_id,
             exists (select 1 from message_hides h where h.message_id = e.message_id and h.user_id = $4) as hidden,
             (select version from conversations where id = e.conversation_id) as conversation_version,
             m.json as message, c.json as conversation, about.json as participant,
             (select f.json from follower_rows f
                 where e.kind like 'thread.%' and f.root_id = e.message_id and f.user_id = e.user_id) as follower,
             (select u.json from user_rows u where (e.kind like 'user.%' or e.kind like 'account.%') and u.id = e.user_id) as person,
             (select b.created_at from user_blocks b
                 where e.kind = 'blocks.updated' and b.user_id = $4 and b.blocked_id = e.user_id) as blocked_at,
             (select r.json from report_rows r
                 where e.kind like 'report.%' and r.message_id = e.message_id and r.reporter_id = e.user_id) as report, unsent.json as unsent,
             scheduled.json as scheduled
         from entries e
         left join message_rows m on m.id = e.message_id
         left join conversation_rows c on c.id = e.conversation_id and e.kind like 'conversation.%'
         left join unsent_rows unsent
             on unsent.conversation_id = e.conversation_id and unsent.user_id = e.user_id and e.kind like 'draft.%'
         left join scheduled_rows scheduled on scheduled.id = e.message_id and e.kind like 'scheduled%'
         left join participant_rows about on about.conversation_id = e.conversation_id and about.user_id = e.user_id
         left join conversation_participants p
             on p.conversation_id = e.conversation_id and p.user_id = $4 and p.left_at is null
         left join thread_followers t on t.root_id = m.thread_root_id and t.user_id = $4
         left join conversation_participants mine on mine.conversation_id = e.conversation_id and mine.user_id = $4
         where e.channel = $2 and e.seq > $3 order by e.seq limit $5",
    )
    .bind(ordinal)
    .bind(channel.to_string())
    .bind(after)
    .bind(owner)
    .bind(most)
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// What is known about one arrival.
async fn standing(connection: &mut SqliteConnection, arrival: &Arrival) -> Result<StandingRow, StoreError> {
    let (user, role) = (&arrival.caller.user, arrival.caller.role);
    let channel = |feed| channel_of(feed, user, role).to_string();
    let row = sqlx::query_as(
        "with mine as (
             -- The device's position, or else that of the user as a whole, whose device is ''.
             select * from acknowledgements where user_id = $1 and device_id in ('', $2)
             order by device_id desc limit 1
         )
         select s.epoch,
             coalesce(u.seq, 0) as user_head, coalesce(r.seq, 0) as role_head, coalesce(a.seq, 0) as all_head,
             coalesce(u.floor, 0) as user_floor, coalesce(r.floor, 0) as role_floor, coalesce(a.floor, 0) as all_floor,
             mine.epoch as stored_epoch, mine.role as stored_role,
             mine.user_seq as stored_user_seq, mine.role_seq as stored_role_seq, mine.all_seq as stored_all_seq,
             exists (select 1 from acknowledgements where user_id = $1 and device_id = '') as user_seen,
             exists (
                 select 1 from users
                 where id = $1 and banned_at is not null and coalesce(ban_expires_at > $6, true)
             ) as is_banned,
             exists (select 1 from users where id = $1 and erased_at is not null) as is_erased
         from fleet_state s
         left join feeds u on u.channel = $3
         left join feeds r on r.channel = $4
         left join feeds a on a.channel = $5
         left join mine",
    )
    .bind(user.as_str())
    .bind(arrival.device_id.as_ref().map_or("", |device| device.as_str()))
    .bind(channel(Feed::User))
    .bind(channel(Feed::Role))
    .bind(channel(Feed::All))
    .bind(now())
    .fetch_one(connection)
    .await?;
    Ok(row)
}

/// Moves positions forwards, never beyond the heads, and only those of today's epoch.
async fn advance(connection: &mut SqliteConnection, positions: &[PositionRow]) -> Result<(), StoreError> {
    if positions.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into acknowledgements as known (user_id, device_id, epoch, role, user_seq, role_seq, all_seq, moved_at)
         select value ->> 'user_id', value ->> 'device_id', value ->> 'epoch', value ->> 'role',
             min(value ->> 'user_seq', coalesce(u.seq, 0)), min(value ->> 'role_seq', coalesce(r.seq, 0)),
             min(value ->> 'all_seq', coalesce(a.seq, 0)), $2
         from json_each($1)
         join fleet_state s on s.epoch = value ->> 'epoch'
         left join feeds u on u.channel = 'user:' || (value ->> 'user_id')
         left join feeds r on r.channel = 'role:' || (value ->> 'role')
         left join feeds a on a.channel = 'all'
         where true
         on conflict (user_id, device_id) do update set
             user_seq = iif(known.epoch = excluded.epoch, max(known.user_seq, excluded.user_seq), excluded.user_seq),
             role_seq = iif(known.epoch = excluded.epoch and known.role = excluded.role,
                 max(known.role_seq, excluded.role_seq), excluded.role_seq),
             all_seq = iif(known.epoch = excluded.epoch, max(known.all_seq, excluded.all_seq), excluded.all_seq),
             epoch = excluded.epoch, role = excluded.role, moved_at = excluded.moved_at",
    )
    .bind(sqlx::types::Json(positions))
    .bind(now())
    .execute(connection)
    .await?;
    Ok(())
}
