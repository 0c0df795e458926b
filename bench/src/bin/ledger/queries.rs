//! What people ask of a month.

use std::{collections::BTreeMap, time::Instant};

use anyhow::Result;
use quota_store::{
    Requester, UnixMillis,
    ledger::{Bucket, By, Ledger, LogQuery, Outcome, Span, StatisticsQuery, UsageQuery},
};

use crate::records::{DAY, MONTH, START, quota, tenant, user};

const ROUNDS: usize = 21;

/// Prints a table, and answers the slowest median in milliseconds.
pub async fn measure(ledger: &dyn Ledger) -> Result<f64> {
    let mut slowest = 0.0_f64;
    for (name, query) in pages() {
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let mut query = query.clone();
            // Another user each time, so that the pages are not those of the round before.
            if query.user.is_some() {
                query.user = Some(user(round as u64 * 37));
            }
            let since = Instant::now();
            let page = ledger.log(&query).await?;
            times.push(since.elapsed().as_secs_f64() * 1_000.0);
            anyhow::ensure!(
                query.user.is_some() || !page.rows.is_empty(),
                "{name}: an empty page"
            );
        }
        slowest = slowest.max(print(name, times));
    }
    for (name, bucket, by) in [
        ("statistics of the month by day", Bucket::Day, None),
        ("statistics of the month by hour", Bucket::Hour, None),
        ("statistics by day and plan", Bucket::Day, Some(By::Plan)),
        ("statistics by day and rule", Bucket::Day, Some(By::Rule)),
        (
            "statistics by day and tag",
            Bucket::Day,
            Some(By::Tag("goal".to_owned())),
        ),
    ] {
        let query = StatisticsQuery {
            tenant: Some(tenant()),
            quota: quota("output_tokens"),
            span: month(),
            bucket,
            by,
        };
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let since = Instant::now();
            let statistics = ledger.statistics(&query).await?;
            times.push(since.elapsed().as_secs_f64() * 1_000.0);
            anyhow::ensure!(
                statistics.users == 1_000,
                "{name}: {} users",
                statistics.users
            );
        }
        slowest = slowest.max(print(name, times));
    }
    for (name, bucket, by_tag) in [
        ("a user's month by day", Bucket::Day, None),
        ("a user's month by hour", Bucket::Hour, None),
        (
            "a user's month by tag",
            Bucket::Day,
            Some("goal".to_owned()),
        ),
    ] {
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let query = UsageQuery {
                requester: Requester {
                    tenant: Some(tenant()),
                    user: user(round as u64 * 37),
                },
                quota: None,
                span: month(),
                bucket,
                by_tag: by_tag.clone(),
            };
            let since = Instant::now();
            let usage = ledger.usage(&query).await?;
            times.push(since.elapsed().as_secs_f64() * 1_000.0);
            anyhow::ensure!(!usage.is_empty(), "{name}: nothing");
        }
        slowest = slowest.max(print(name, times));
    }
    Ok(slowest)
}

fn month() -> Span {
    Span {
        from: UnixMillis::new(START),
        to: UnixMillis::new(START + MONTH),
    }
}

fn pages() -> Vec<(&'static str, LogQuery)> {
    let all = LogQuery::of(Some(tenant()), 50);
    let of_user = LogQuery {
        user: Some(user(0)),
        ..all.clone()
    };
    let tags = |pairs: &[(&str, &str)]| {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect::<BTreeMap<_, _>>()
    };
    let one_tag = tags(&[("goal", "goal-3")]);
    let two_tags = tags(&[("goal", "goal-3"), ("model", "model-1")]);
    let mut middle = month();
    middle.to = UnixMillis::new(START + 15 * DAY);
    vec![
        ("log: latest page", all.clone()),
        (
            "log: from the middle of the month",
            LogQuery {
                span: middle,
                ..all.clone()
            },
        ),
        ("log: of a user", of_user.clone()),
        (
            "log: of a user, denied",
            LogQuery {
                outcome: Some(Outcome::Denied),
                ..of_user.clone()
            },
        ),
        (
            "log: of a user and a tag",
            LogQuery {
                tags: one_tag.clone(),
                ..of_user
            },
        ),
        (
            "log: a frequent quota",
            LogQuery {
                quota: Some(quota("messages")),
                ..all.clone()
            },
        ),
        (
            "log: a rare quota",
            LogQuery {
                quota: Some(quota("storage")),
                ..all.clone()
            },
        ),
        (
            "log: late",
            LogQuery {
                outcome: Some(Outcome::Late),
                ..all.clone()
            },
        ),
        (
            "log: a rule, denied",
            LogQuery {
                rule: Some("GET /ws/chat".to_owned()),
                outcome: Some(Outcome::Denied),
                ..all.clone()
            },
        ),
        (
            "log: a tag",
            LogQuery {
                tags: one_tag,
                ..all.clone()
            },
        ),
        (
            "log: two tags and a rare quota",
            LogQuery {
                tags: two_tags,
                quota: Some(quota("storage")),
                ..all
            },
        ),
    ]
}

fn print(name: &str, mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!("| {name} | {median:.1} | {:.1} |", times[times.len() - 1]);
    median
}
