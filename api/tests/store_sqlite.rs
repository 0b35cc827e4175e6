//! What only SQLite has to be told: an index of words that is not a column of the messages.

use fleet::servers::scratch::Scratch;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};

async fn run(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.expect("the statements are right");
}

#[tokio::test]
async fn messages_that_were_there_before_they_could_be_searched_are_found() {
    let folder = Scratch::new("sqlite");
    let options = SqliteConnectOptions::new().filename(folder.path().join("old.db")).create_if_missing(true);
    let mut connection = options.connect().await.expect("a new file");
    run(&mut connection, include_str!("../migrations/sqlite/0001_tables.sql")).await;
    run(
        &mut connection,
        "insert into conversations (id, type, created_by, created_at) values (x'01', 'group', 'alice', 0);
         insert into messages (id, conversation_id, seq, sender_id, message_text, created_at, deleted_at)
         values (x'02', x'01', 1, 'alice', 'an old word', 1, null), (x'03', x'01', 2, 'alice', 'a deleted word', 2, 3)",
    )
    .await;
    run(&mut connection, include_str!("../migrations/sqlite/0010_search.sql")).await;
    run(&mut connection, "vacuum").await;
    let found: Vec<Vec<u8>> = sqlx::query_scalar(
        "select s.message_id from message_words w join searchable_messages s on s.docid = w.rowid where message_words match 'word'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("words can be asked for");
    assert_eq!(found, [[2]]);
}
