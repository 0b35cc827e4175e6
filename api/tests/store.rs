//! The conformance suite of the store, on SQLite and on PostgreSQL.

use api::store::conformance::Bed;

mod sqlite {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Bed;

    static NEXT: AtomicU32 = AtomicU32::new(0);

    async fn bed() -> Bed {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = directory.join(format!("store-{}-{number}.db", std::process::id()));
        Bed::new(format!("sqlite://{}", path.display())).await
    }

    api::store_conformance!(bed());
}
