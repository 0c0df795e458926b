//! Since when plans limit quotas in windows.

use std::sync::Arc;

use super::{super::ledger::records::START, DirectoryUnderTest, entries::plan};
use crate::{
    Scope, UnixMillis, Window, contract::ledger::records::quota, directory::Directory,
    directory::WindowInForce,
};

const ALWAYS: UnixMillis = UnixMillis::new(0);

fn at(millis: u64) -> UnixMillis {
    UnixMillis::new(START + millis)
}

fn window(name: Option<&str>, window: Window, calendar: &str) -> WindowInForce {
    WindowInForce {
        plan: name.map(plan),
        scope: Scope::User,
        quota: quota("messages"),
        window,
        calendar: calendar.to_owned(),
    }
}

async fn put(
    directory: &impl Directory,
    windows: &[WindowInForce],
    now: UnixMillis,
) -> Vec<UnixMillis> {
    let since = directory.put_in_force(windows.to_vec(), now).await;
    since.expect("it is answered")
}

/// The windows of a plan that is seen first have always been; others begin when they come.
pub async fn a_window_is_in_force_since_its_plan_got_it(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let day = window(Some("free"), Window::Day, "UTC");
    let of_default = window(None, Window::Day, "UTC");
    let first = [day.clone(), of_default];
    assert_eq!(put(&*directory, &first, at(1)).await, [ALWAYS, ALWAYS]);
    assert_eq!(put(&*directory, &first, at(2)).await, [ALWAYS, ALWAYS]);
    let month = window(Some("free"), Window::Month, "UTC");
    let in_douala = window(Some("free"), Window::Day, "Africa/Douala");
    let of_tenants = WindowInForce {
        scope: Scope::Tenant,
        ..day.clone()
    };
    let of_another_plan = window(Some("pro"), Window::Month, "UTC");
    let second = [month, day.clone(), in_douala, of_tenants, of_another_plan];
    let since = [at(3), ALWAYS, at(3), at(3), ALWAYS];
    assert_eq!(put(&*directory, &second, at(3)).await, since);
    assert_eq!(put(&*under.open().await, &second, at(4)).await, since);
    // What was not named meanwhile begins anew.
    assert_eq!(put(&*directory, &second[..1], at(5)).await, [at(3)]);
    assert_eq!(put(&*directory, &[day], at(6)).await, [at(6)]);
    assert!(put(&*directory, &[], at(7)).await.is_empty());
}

/// Processes that say the same at once are answered the same.
pub async fn windows_put_in_force_at_once_begin_once(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    put(
        &*directory,
        &[window(Some("free"), Window::Day, "UTC")],
        at(0),
    )
    .await;
    let tasks = (1..9).map(|number| {
        let directory = Arc::clone(&directory);
        tokio::spawn(async move {
            let month = [window(Some("free"), Window::Month, "UTC")];
            put(&*directory, &month, at(number)).await
        })
    });
    let mut answers = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        answers.push(task.await.expect("no task panics"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
}
