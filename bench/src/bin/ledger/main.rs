//! Measures the ledger with a million records, in a real SQLite file and on a real Postgres.
//!
//! All records are of one tenant with 1 000 users, spread over 30 days, which is the hardest case:
//! nothing is left out by the tenant. Each asks for two quotas and has two tags; seven of ten are
//! charged, on four counters each. They are appended in batches of 2 000, four callers at a time, with
//! every index and sum in place. Then pages and figures are read, 21 times each.
//!
//! `ledger [sqlite|postgres] [RECORDS]`

use std::{sync::Arc, time::Instant};

use anyhow::Result;
use bench::{goal, goal_at_least, goals};
use quota_store::ledger::{
    Durability, Ledger, PostgresLedger, PostgresOptions, SqliteLedger, SqliteOptions,
};

mod queries;
mod records;
mod server;

/// How many records are appended by one call, and how many calls wait at once.
const BATCH: u64 = 2_000;
const CALLERS: u64 = 4;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let which = arguments.next();
    let records = arguments
        .next()
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let is_wanted = |name| which.as_deref().is_none_or(|wanted| wanted == name);
    if is_wanted("sqlite") {
        let folder = tempfile::tempdir()?;
        let mut options = SqliteOptions::new(folder.path().join("quota.db"));
        options.durability = Durability::Process;
        let ledger = Arc::new(SqliteLedger::open(options).await?);
        measure("SQLite", ledger, records).await?;
    }
    if is_wanted("postgres") {
        let server = server::PostgresServer::start().await?;
        let ledger = PostgresLedger::connect(PostgresOptions::new(&server.url())?).await?;
        measure("Postgres", Arc::new(ledger), records).await?;
    }
    Ok(())
}

async fn measure(name: &str, ledger: Arc<dyn Ledger>, records: u64) -> Result<()> {
    let seconds = fill(&ledger, records).await?;
    let writer_seconds = cpu_seconds("quota-ledger")?;
    let rate = records as f64 / seconds;
    let health = ledger.health().await?;
    println!(
        "\n{name}: {records} records in {seconds:.1} s, {} MB",
        health.bytes / 1_000_000
    );
    println!("\n| {name}, ms | median | worst |\n| --- | --- | --- |");
    let slowest = queries::measure(&*ledger).await?;
    goals();
    if name == "SQLite" {
        goal_at_least("SQLite, records appended a second", rate, 20_000.0);
        println!(
            "| SQLite, the same by the CPU time of the thread that writes | {:.0} | | |",
            records as f64 / writer_seconds
        );
    } else {
        println!("| Postgres, records appended a second | {rate:.0} | | |");
    }
    goal(&format!("{name}, slowest median in ms"), slowest, 100.0);
    Ok(())
}

/// Appends all records, and says how many seconds it took.
async fn fill(ledger: &Arc<dyn Ledger>, records: u64) -> Result<f64> {
    let (sender, batches) = tokio::sync::mpsc::channel(16);
    // They are made beforehand by another thread, which is not what is measured.
    std::thread::spawn(move || {
        for first in (0..records).step_by(BATCH as usize) {
            let batch = records::batch(first, records.min(first + BATCH), records);
            if sender.blocking_send(Arc::new(batch)).is_err() {
                return;
            }
        }
    });
    let batches = Arc::new(tokio::sync::Mutex::new(batches));
    let since = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (ledger, batches) = (Arc::clone(ledger), Arc::clone(&batches));
            tokio::spawn(async move {
                loop {
                    let next = batches.lock().await.recv().await;
                    let Some(batch) = next else {
                        return Ok::<(), anyhow::Error>(());
                    };
                    ledger.append(batch).await?;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    Ok(since.elapsed().as_secs_f64())
}

/// The CPU time of this process' thread of that name, which a busy machine does not stretch.
fn cpu_seconds(thread: &str) -> Result<f64> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let folder = task?.path();
        if std::fs::read_to_string(folder.join("comm"))?.trim() == thread {
            let times = std::fs::read_to_string(folder.join("schedstat"))?;
            let nanoseconds = times.split(' ').next().unwrap_or_default();
            return Ok(nanoseconds.parse::<f64>()? / 1e9);
        }
    }
    Ok(f64::NAN)
}
