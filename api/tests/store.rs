//! The conformance suite of the store, on SQLite and on PostgreSQL.

use api::store::conformance::Bed;

mod sqlite {
    use std::sync::Arc;

    use fleet::servers::scratch::Scratch;

    use super::Bed;

    async fn bed() -> Bed {
        let folder = Arc::new(Scratch::new("sqlite"));
        let path = folder.path().join("carillon.db");
        Bed::new(format!("sqlite://{}", path.display())).await.on(folder)
    }

    api::store_conformance!(bed());
}

mod postgres {
    use fleet::servers::postgres::Postgres;
    use fleet::servers::shared::Shared;

    use super::Bed;

    static SERVER: Shared<Postgres> = Shared::new();

    async fn bed() -> Bed {
        let server = SERVER.get(Postgres::start()).await.expect("PostgreSQL is installed");
        Bed::new(server.database().await.expect("a database")).await.on(server)
    }

    api::store_conformance!(bed());
}
