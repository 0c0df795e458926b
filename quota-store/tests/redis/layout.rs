//! What lies in Redis, and what it costs.

use std::{sync::Arc, time::Duration};

use quota_store::{
    Act, Correction, CounterKey, CounterStore as _, Generation, Scope, Settled, Window, WindowSpan,
};

use crate::{
    kit::{Kit, brief, counter, hold, member, of_tenant, of_user, one, request, user},
    server::until,
};

#[tokio::test]
async fn nothing_is_left_of_settled_requests() {
    let kit = Kit::start().await;
    for (tenant, name) in [("acme", "alice"), ("{}: %", "bob :}é\n")] {
        let alice = member(tenant, name);
        let holds = [hold(of_user(), 9, 1), hold(of_tenant(), 9, 1)];
        let committed = kit.allowed(&Arc::new(request(&alice, &holds))).await;
        kit.commit(&committed.reservation, &[1, 1]).await;
        let released = kit.allowed(&Arc::new(request(&alice, &holds))).await;
        kit.store.release(&released.reservation).await.unwrap();
    }
    let keys: Vec<_> = kit.keys().await;
    let names: Vec<&str> = keys
        .iter()
        .map(|(key, _)| key.as_str())
        .filter(|key| *key != "quota:sweep")
        .collect();
    assert_eq!(
        names,
        [
            "quota:partitions",
            "quota:{3a}:e",
            "quota:{3a}:t:%7B%7D%3A%20%25",
            "quota:{3a}:u:%7B%7D%3A%20%25:bob%20%3A%7D%C3%A9%0A",
            "quota:{82}:e",
            "quota:{82}:t:acme",
            "quota:{82}:u:acme:alice",
        ]
    );
}

#[tokio::test]
async fn only_lifetime_counters_epochs_and_the_partitions_live_for_ever() {
    let kit = Kit::start().await;
    let alice = member("acme", "alice");
    let holds = [hold(of_user(), 99, 1), hold(of_tenant(), 99, 1)];
    let settled = kit.allowed(&Arc::new(request(&alice, &holds))).await;
    kit.commit(&settled.reservation, &[1, 1]).await;
    let correction = Correction {
        reservation: settled.reservation,
        differences: [1, 1].into_iter().collect(),
        attempt: None,
    };
    kit.store.correct(&correction).await.unwrap();
    kit.store.abort(&one(&alice, 9)).await.unwrap();
    let expired = kit.allowed(&brief(&alice, 99, 1)).await;
    until(async || kit.read(&alice, &[of_user()]).await == [(2, 0)]).await;
    let late = kit.commit(&expired.reservation, &[1]).await;
    assert!(matches!(late, Settled::Late(_)));
    for act in [
        Act::AddUsed(of_tenant(), 1),
        Act::AdvanceGeneration(Scope::User, Generation(3)),
    ] {
        kit.administer(&alice, act).await;
    }
    kit.allowed(&Arc::new(request(&user("in-flight-only"), &[])))
        .await;
    kit.administer(
        &user("generation-only"),
        Act::AdvanceGeneration(Scope::User, Generation(3)),
    )
    .await;
    let mut ever = of_user();
    (ever.window, ever.span) = (Window::Lifetime, WindowSpan::LIFETIME);
    let holds = [hold(ever, 5, 1), hold(of_user(), 5, 1)];
    let made = kit.allowed(&Arc::new(request(&user("ever"), &holds))).await;
    kit.commit(&made.reservation, &[1, 1]).await;

    for (key, life) in kit.keys().await {
        let is_index = key.ends_with("}:x");
        let lives_for_ever = key.ends_with(":e")
            || key.ends_with(":u::ever")
            || key == "quota:partitions"
            || is_index;
        assert_eq!(life == -1, lives_for_ever, "{key} lives {life}");
    }
}

#[tokio::test]
async fn old_windows_are_forgotten_and_counters_in_use_are_not() {
    let kit = Kit::start().await;
    let alice = user("alice");
    kit.allowed(&one(&alice, 9)).await;
    // Windows of 1970: in minutes, in seconds, in milliseconds, and one that is in use.
    for field in ["messages:D+9.9", "messages:s/2", "messages:m!rt.rs"] {
        let command = format!("HSET quota:{{2b}}:u::alice {field} 7");
        kit.server.run::<u32>(&command).await;
    }
    let in_use = "HSET quota:{2b}:u::alice messages:h+9.9";
    let () = redis::cmd("HSET")
        .arg(in_use.split(' ').skip(1).collect::<Vec<_>>())
        .arg("7 1")
        .query_async(&mut kit.server.connection().await)
        .await
        .unwrap();
    let tokens = counter(Scope::User, "tokens");
    kit.allowed(&Arc::new(request(&alice, &[hold(tokens, 9, 1)])))
        .await;
    let mut fields: Vec<String> = kit.server.run("HKEYS quota:{2b}:u::alice").await;
    fields.sort();
    assert_eq!(fields.len(), 4, "{fields:?}");
    assert!(fields.contains(&"messages:h+9.9".to_owned()), "{fields:?}");
}

/// The counters of two quotas in the calendar's windows of a day and a month.
fn four_counters() -> Vec<CounterKey> {
    let day = 86_400_000;
    let today = of_user().span.start().get() / day + 1;
    let windows = [
        (Window::Day, today * day, (today + 1) * day),
        (Window::Month, (today - 10) * day, (today + 20) * day),
    ];
    ["messages", "output_toks"]
        .into_iter()
        .flat_map(|quota| {
            windows.map(|(window, start, end)| {
                let mut counter = counter(Scope::User, quota);
                let millis = quota_store::UnixMillis::new;
                counter.window = window;
                counter.span = WindowSpan::new(millis(start), millis(end)).unwrap();
                counter
            })
        })
        .collect()
}

async fn used_memory(kit: &Kit) -> u64 {
    let info: String = kit.server.run("INFO memory").await;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn an_idle_subject_with_four_counters_is_small() {
    const SUBJECTS: u64 = 10_000;
    let kit = Arc::new(Kit::start().await);
    let charge = async |from, to| {
        let tasks = (from..to).map(|number| {
            let kit = Arc::clone(&kit);
            tokio::spawn(async move {
                let holds: Vec<_> = four_counters()
                    .into_iter()
                    .map(|counter| hold(counter, 1_000_000, 150))
                    .collect();
                let alice = user(&format!("user-{number:011}"));
                let made = kit.allowed(&Arc::new(request(&alice, &holds))).await;
                kit.commit(&made.reservation, &[150, 150, 150, 150]).await;
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    };
    // The epochs, the scripts and the buffers of the connection are there before.
    charge(0, 1_000).await;
    let before = used_memory(&kit).await;
    for some in 1..=SUBJECTS / 1_000 {
        charge(some * 1_000, (some + 1) * 1_000).await;
    }
    let bytes = (used_memory(&kit).await - before) / SUBJECTS;
    assert!(bytes <= 320, "{bytes} bytes for each subject");
}

#[tokio::test]
async fn a_step_costs_the_same_among_many_live_reservations() {
    let kit = Kit::start().await;
    let alice = user("alice");
    let calls = async || -> Vec<(String, u64)> {
        kit.server.run::<String>("CONFIG RESETSTAT").await;
        kit.server.run::<String>("SET quota:sweep held").await;
        for _ in 0..50 {
            let made = kit.allowed(&one(&alice, 100_000)).await;
            kit.commit(&made.reservation, &[1]).await;
        }
        kit.read(&alice, &[of_user()]).await;
        let info: String = kit.server.run("INFO commandstats").await;
        let names = [
            "zrange",
            "zadd",
            "zrem",
            "hmget",
            "hset",
            "mget",
            "zrangebyscore",
            "hgetall",
        ];
        names
            .into_iter()
            .map(|name| {
                let start = format!("cmdstat_{name}:calls=");
                let line = info.lines().find_map(|line| line.strip_prefix(&start));
                let count = line.and_then(|line| line.split(',').next()?.parse().ok());
                (name.to_owned(), count.unwrap_or_default())
            })
            .collect()
    };
    for _ in 0..10 {
        kit.allowed(&one(&alice, 100_000)).await;
    }
    let few = calls().await;
    for _ in 0..10_000 {
        kit.allowed(&one(&alice, 100_000)).await;
    }
    let many = calls().await;
    // No call of these reads more than one member of an index, whatever lies in it.
    assert_eq!(few, many);
}

#[tokio::test]
async fn forgotten_scripts_fail_no_request() {
    let kit = Arc::new(Kit::start().await);
    let flushing = tokio::spawn({
        let mut connection = kit.server.connection().await;
        async move {
            loop {
                let () = redis::cmd("SCRIPT")
                    .arg("FLUSH")
                    .query_async(&mut connection)
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        }
    });
    for count in 1..=300 {
        let made = kit.allowed(&one(&user("alice"), 1_000)).await;
        kit.commit(&made.reservation, &[1]).await;
        assert_eq!(kit.read(&user("alice"), &[of_user()]).await, [(count, 0)]);
    }
    flushing.abort();
}
