//! Ends expired reservations that no request comes across.

use std::{sync::Weak, time::Duration};

use super::{
    failure::Failure,
    gather::Answer,
    items,
    keys::{Address, Partitions},
    link::{Link, jittered},
    replies::{self, Swept},
    script::{Item, Script, Words},
};

/// The longest pause between two sweeps: units are free again within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(600);
/// How long the other processes leave the work to this one.
const LOCK: Duration = Duration::from_millis(250);
/// How many partitions one call looks through.
const PARTITIONS_A_CALL: usize = 64;

/// Sweeps until the store is gone.
pub(super) async fn sweep_all(link: Weak<Link>, script: Script, prefix: String, memory: Duration) {
    let indexes: Vec<String> = Partitions::new(&prefix).indexes().collect();
    let lock = format!("{prefix}:sweep");
    loop {
        tokio::time::sleep(jittered(LONGEST_PAUSE)).await;
        let Some(link) = link.upgrade() else {
            return;
        };
        if let Err(error) = sweep_once(&link, &script, &lock, &indexes, memory).await {
            // The next sweep tries again, and requests report the outage.
            tracing::debug!(target: "quota::redis", %error, "expired reservations could not be swept");
        }
    }
}

async fn sweep_once(
    link: &Link,
    script: &Script,
    lock: &str,
    indexes: &[String],
    memory: Duration,
) -> Result<(), Failure> {
    for (number, indexes) in indexes.chunks(PARTITIONS_A_CALL).enumerate() {
        // Only the first call takes the lock.
        let mut lock_for = if number == 0 { LOCK } else { Duration::ZERO };
        loop {
            let mut item = Item::new();
            item.keys.push(lock);
            for index in indexes {
                item.keys.push(index);
            }
            item.arguments.push(items::duration_millis(lock_for));
            match call(link, script, &item, memory).await? {
                Swept::ByOthers => return Ok(()),
                Swept::All => break,
                Swept::Some => lock_for = Duration::ZERO,
            }
        }
    }
    Ok(())
}

/// Ends up to 64 expired reservations of one partition.
pub(super) async fn sweep_partition(
    link: &Link,
    script: &Script,
    address: &Address<'_>,
    memory: Duration,
) -> Result<Swept, Failure> {
    let mut item = Item::new();
    // No lock is taken, so that its name does not matter.
    address.push_index(&mut item.keys);
    address.push_index(&mut item.keys);
    item.arguments.push(0);
    call(link, script, &item, memory).await
}

async fn call(
    link: &Link,
    script: &Script,
    item: &Item,
    memory: Duration,
) -> Result<Swept, Failure> {
    let mut head = Words::default();
    head.push(items::duration_millis(memory));
    let answer = link.run(script, &head, std::iter::once(item)).await?;
    replies::swept(&Answer::one(&answer)?)
}
