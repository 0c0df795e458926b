//! What is recorded is in a real ledger.

use std::sync::Arc;

use tempfile::TempDir;

use super::{
    super::{Backlog, Recorder, RecorderOptions},
    Double, ama, assert_each_once, attempt, charge, commit,
    double::Failure,
    lifetime, start,
};
use crate::ledger::{
    Attempt, Claim, Ledger, LedgerErrorKind, LogQuery, Outcome, SqliteLedger, SqliteOptions,
};

async fn open(folder: &TempDir) -> Arc<SqliteLedger> {
    let options = SqliteOptions {
        claim: Claim::Exclusive,
        ..SqliteOptions::new(folder.path().join("quota.db"))
    };
    Arc::new(SqliteLedger::open(options).await.unwrap())
}

/// Every record of the tenant, and what its user used.
async fn everything(ledger: &SqliteLedger) -> (Vec<Attempt>, u64) {
    let mut query = LogQuery::of(ama().tenant, 1_000);
    let mut rows = Vec::new();
    loop {
        let page = ledger.log(&query).await.unwrap();
        rows.extend(page.rows);
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    let used = ledger.used(&ama(), &[lifetime()]).await.unwrap();
    (rows, used[0].get())
}

#[tokio::test]
async fn a_recording_resolves_when_the_record_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder).await;
    let recorder = Recorder::start(Arc::clone(&ledger) as _, &RecorderOptions::default());
    charge(&recorder, 0).await.unwrap();
    let (rows, used) = everything(&ledger).await;
    assert_eq!(rows, [attempt(0, Outcome::Committed)]);
    assert_eq!(used, 1);
    assert_eq!(recorder.backlog(), Backlog::default());
}

#[tokio::test]
async fn what_the_ledger_refuses_harms_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder).await;
    let recorder = Recorder::start(Arc::clone(&ledger) as _, &RecorderOptions::default());
    let mut bad = commit(3);
    bad.entries[0].amount = i64::MAX;
    let before = charge(&recorder, 0);
    let refused = recorder.record(attempt(3, Outcome::Committed), Some(bad));
    let others = [charge(&recorder, 1), charge(&recorder, 2)];
    before.await.unwrap();
    let error = refused.await.unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Invalid);
    for other in others {
        other.await.unwrap();
    }
    let (rows, used) = everything(&ledger).await;
    assert_each_once(&rows, 0..3);
    assert_eq!(used, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_many_tasks_are_there_once_and_share_appends() {
    const TASKS: u64 = 64;
    const RECORDS: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder).await;
    let double = Double::before(Some(Arc::clone(&ledger) as _));
    let recorder = start(&double, &RecorderOptions::default());
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let recorder = recorder.clone();
            tokio::spawn(async move {
                let numbers = (task..RECORDS).step_by(usize::try_from(TASKS).unwrap());
                for number in numbers {
                    charge(&recorder, number).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (rows, used) = everything(&ledger).await;
    assert_each_once(&rows, 0..RECORDS);
    assert_eq!(used, RECORDS);
    let appends = double.state().batches.len();
    assert!(appends < 2_000, "{appends} appends");
    assert_eq!(recorder.backlog(), Backlog::default());
}

#[tokio::test]
async fn after_an_outage_everything_is_there_once() {
    use Failure::{After, Before};
    use LedgerErrorKind::{Busy, Corrupt, Full, Unknown, Unreachable};
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder).await;
    let double = Double::before(Some(Arc::clone(&ledger) as _));
    let failures = [Before(Unreachable), After(Unknown), Before(Full)];
    double.fail(failures);
    double.fail([After(Busy), Before(Corrupt), Failure::Panic]);
    let options = RecorderOptions {
        batch: 64,
        ..RecorderOptions::default()
    };
    let recorder = start(&double, &options);
    for number in 0..500 {
        drop(charge(&recorder, number));
        recorder.note(attempt(1_000 + number, Outcome::Released));
    }
    recorder.drain().await;
    let (mut rows, used) = everything(&ledger).await;
    let released = |row: &mut Attempt| row.outcome == Outcome::Released;
    let notes: Vec<_> = rows.extract_if(.., released).collect();
    assert_each_once(&rows, 0..500);
    assert_each_once(&notes, 1_000..1_500);
    assert_eq!(used, 500);
    assert!(double.state().failures.is_empty());
}

#[tokio::test]
async fn what_is_left_when_the_last_recorder_goes_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder).await;
    let recorder = Recorder::start(Arc::clone(&ledger) as _, &RecorderOptions::default());
    for number in 20..50 {
        recorder.note(attempt(number, Outcome::Denied));
    }
    let recordings: Vec<_> = (0..10).map(|number| charge(&recorder, number)).collect();
    drop(recorder);
    for recording in recordings {
        recording.await.unwrap();
    }
    // The task lets go of the ledger when it ends.
    for _ in 0..1_000_000 {
        if Arc::strong_count(&ledger) == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let (rows, used) = everything(&ledger).await;
    assert_eq!((rows.len(), used), (10 + 10 + 1, 10));
}
