//! Rows that nobody can read.

use rusqlite::Connection;

use super::open;
use crate::{
    UnixMillis,
    ledger::{Ledger as _, LogQuery},
};

#[tokio::test]
async fn rows_that_can_not_be_read_are_pruned_and_hide_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder).await;
    let writer = Connection::open(folder.path().join("quota.db")).unwrap();
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    for (id, charges, metadata) in [(1_u8, "[]", &*deep), (2, "broken", "{}"), (3, "[]", "{}")] {
        let sql = "INSERT INTO attempts (id, outcome, at, tenant, user_id, charges, tags, \
             metadata, revision, attempts) \
             VALUES (?1, 'denied', ?2, '', 'ama', ?3, '{}', ?4, '', 1)";
        let id_bytes = [id; 16];
        let row = (&id_bytes[..], i64::from(id), charges, metadata);
        writer.execute(sql, row).unwrap();
    }
    let mut query = LogQuery::of(None, 10);
    query.span.to = UnixMillis::new(2);
    let rows = ledger.log(&query).await.unwrap().rows;
    assert_eq!(rows.len(), 1);
    assert!(rows[0].metadata.is_empty());
    let pruned = ledger.prune(UnixMillis::new(10), 100).await.unwrap();
    assert_eq!(pruned.rows, 3);
}
