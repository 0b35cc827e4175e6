//! Search in SQLite: the words by FTS5, everything else by where clauses.

use async_trait::async_trait;
use shared::access::Caller;
use sqlx::{QueryBuilder, Sqlite};

use super::SqliteStore;
use crate::search::{Query, Term};
use crate::store::rows::HitRow;
use crate::store::{Hit, Search, SearchPage, StoreError};

/// The messages whose words match an expression of FTS5, which follows.
const MATCHING: &str = "(
    select s.message_id from message_words w join searchable_messages s on s.docid = w.rowid where w.message_words match ";

#[async_trait]
impl Search for SqliteStore {
    async fn search(&self, caller: &Caller, page: &SearchPage) -> Result<Vec<Hit>, StoreError> {
        let mut sql = QueryBuilder::new("with found as (");
        find(&mut sql, caller, page);
        sql.push(
            ") select m.*, c.subject as conversation_subject from found f
               join message_rows m on m.id = f.id
               join conversations c on c.id = m.conversation_id
               order by m.created_at desc, m.id desc",
        );
        let mut connection = self.readers.acquire().await?;
        let rows: Vec<HitRow> = sql.build_query_as().fetch_all(&mut *connection).await?;
        rows.into_iter().map(Hit::try_from).collect()
    }
}

/// Finds the ids of a page of messages, with only those conditions that the query has: SQLite plans before it knows values.
fn find(sql: &mut QueryBuilder<Sqlite>, caller: &Caller, page: &SearchPage) {
    let Query { terms, from, within, link, attachment, since, before } = &page.query;
    sql.push("select g.id from messages g where g.deleted_at is null");
    if !caller.role.is_trusted() {
        sql.push(" and g.conversation_id in (select conversation_id from conversation_participants where user_id = ");
        sql.push_bind(caller.user.to_string()).push(" and left_at is null)");
    }
    sql.push(" and not exists (select 1 from message_hides h where h.message_id = g.id and h.user_id = ");
    sql.push_bind(caller.user.to_string()).push(")");
    sql.push(" and not exists (select 1 from user_blocks b where b.blocked_id = g.sender_id and b.user_id = ");
    sql.push_bind(caller.user.to_string()).push(")");
    if let Some(present) = expression(terms.iter().filter(|term| !term.absent), " AND ") {
        sql.push(" and g.id in ").push(MATCHING).push_bind(present).push(")");
    }
    if let Some(absent) = expression(terms.iter().filter(|term| term.absent), " OR ") {
        sql.push(" and g.id not in ").push(MATCHING).push_bind(absent).push(")");
    }
    if let Some(from) = from {
        sql.push(" and g.sender_id = ").push_bind(from.to_string());
    }
    if let Some(within) = within {
        sql.push(" and g.conversation_id = ").push_bind(within.0);
    }
    if *link {
        sql.push(" and (g.message_text like '%http://%' or g.message_text like '%https://%')");
    }
    if *attachment {
        sql.push(" and exists (select 1 from brought_attachments a where a.brought_by = g.id)");
    }
    if let Some(since) = since {
        sql.push(" and g.created_at >= ").push_bind(since.as_micros());
    }
    if let Some(before) = before {
        sql.push(" and g.created_at < ").push_bind(before.as_micros());
    }
    if let Some((at, id)) = page.after {
        sql.push(" and (g.created_at, g.id) < (").push_bind(at).push(", ").push_bind(id.0).push(")");
    }
    sql.push(" order by g.created_at desc, g.id desc limit ").push_bind(page.limit);
}

/// An expression of FTS5: each term a string of its language, in which only a quote means anything, and is doubled.
fn expression<'a>(terms: impl Iterator<Item = &'a Term>, between: &str) -> Option<String> {
    let quoted = |term: &Term| {
        let words = term.words.replace('"', "\"\"");
        if term.beginning { format!("\"{words}\" *") } else { format!("\"{words}\"") }
    };
    let expression = terms.map(quoted).collect::<Vec<_>>().join(between);
    Some(expression).filter(|expression| !expression.is_empty())
}
