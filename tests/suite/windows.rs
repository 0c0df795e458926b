//! A request is charged to the window in which it was reserved, and windows follow the calendar.

use std::sync::{Arc, Mutex};

use axum::{Router, routing};
use bytes::Bytes;
use http::Response;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use quota_layer::QuotaHandle;
use quota_store::{
    Anchor, CounterKey, CounterValue, ManualClock, QuotaName, Scope, UnixMillis, Window,
};
use quota_tests::{
    eventually,
    layers::{Layered, Store, layered, layered_at, requester},
    requests::{get, header, json, send},
};
use tokio::sync::{Semaphore, mpsc};

fn config(limit: &str, zone: &str) -> String {
    format!(
        r#"
        [store]
        timeout = "5s"
        reservation_ttl = "60s"
        [quotas.messages]
        [plans.free]
        default = true
        timezone = "{zone}"
        limits.messages = {limit}
        [[routes]]
        match = "GET /chat"
        charge = {{ messages = 1 }}
        "#
    )
}

/// A wall-clock time such as `2026-01-01T23:59:50` in a zone.
fn at(local: &str, zone: &str) -> UnixMillis {
    let local: DateTime = local.parse().unwrap();
    let instant = local.in_tz(zone).unwrap().timestamp();
    UnixMillis::from_seconds(instant.as_second().unsigned_abs())
}

/// An application whose handler says that it runs, and waits until it is let go.
struct Gated {
    app: Router,
    go: Arc<Semaphore>,
    began: mpsc::UnboundedReceiver<String>,
}

impl Gated {
    fn new(layered: &Layered) -> Self {
        let (sender, began) = mpsc::unbounded_channel();
        let go = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&go);
        let handler = async move |handle: QuotaHandle| {
            let resets_at = handle.status()[0].resets_at.clone();
            sender.send(resets_at.unwrap()).unwrap();
            gate.acquire().await.unwrap().forget();
        };
        Self {
            app: Router::new()
                .route("/chat", routing::get(handler))
                .layer(layered.quota.clone()),
            go,
            began,
        }
    }

    /// Reserves, lets `between` happen, and gives the answer.
    async fn over(&mut self, between: impl AsyncFnOnce()) -> Response<Bytes> {
        let app = self.app.clone();
        let running = tokio::spawn(async move { send(&app, get("/chat", "alice")).await });
        self.began.recv().await.unwrap();
        between().await;
        self.go.add_permits(1);
        running.await.unwrap()
    }
}

/// Alice's counter in the window that contains `instant`.
async fn counter(layered: &Layered, window: &str, zone: &str, instant: UnixMillis) -> CounterValue {
    let window: Window = window.parse().unwrap();
    let zone = TimeZone::get(zone).unwrap();
    let key = CounterKey {
        scope: Scope::User,
        quota: QuotaName::new("messages").unwrap(),
        window,
        span: window.span_at(instant, &zone, Anchor::Calendar),
    };
    let read = layered.store.read(&requester("alice", None), &[key]).await;
    read.unwrap()[0]
}

#[tokio::test]
async fn over_midnight_a_request_is_charged_to_the_day_before() {
    for (window, before, after) in [
        ("day", "2026-03-10T23:59:59", "2026-03-11T00:00:01"),
        ("month", "2026-01-31T23:59:59", "2026-02-01T00:00:00"),
        ("month", "2028-02-29T12:00:00", "2028-03-01T00:00:00"),
        ("year", "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
        ("week", "2026-03-15T23:59:59", "2026-03-16T00:00:00"),
        ("hour", "2026-03-10T10:59:59", "2026-03-10T11:00:00"),
    ] {
        let zone = "Africa/Douala";
        let (before, after) = (at(before, zone), at(after, zone));
        let clock = ManualClock::new(before);
        let limit = format!("\"5/{window}\"");
        let layered = layered_at(
            Store::Memory,
            &config(&limit, zone),
            Arc::new(clock.clone()),
        )
        .await;
        let mut gated = Gated::new(&layered);
        let response = gated.over(async || clock.set(after)).await;
        assert_eq!(response.status(), 200);
        // The headers are about the window that was charged.
        assert_eq!(header(&response, "x-quota-used"), "1", "{window}");
        assert!(header(&response, "x-quota-reset").parse::<u64>().unwrap() <= after.seconds());
        let used = async |instant| {
            let value = counter(&layered, window, zone, instant).await;
            (value.used.get(), value.reserved.get())
        };
        assert_eq!(
            (used(before).await, used(after).await),
            ((1, 0), (0, 0)),
            "{window}"
        );
        let response = gated.over(async || ()).await;
        assert_eq!(header(&response, "x-quota-used"), "1", "{window}");
    }
}

#[tokio::test]
async fn a_failure_over_midnight_frees_the_day_before() {
    let before = at("2026-03-10T23:59:59", "UTC");
    let clock = ManualClock::new(before);
    let layered = layered_at(
        Store::Memory,
        &config("\"5/day\"", "UTC"),
        Arc::new(clock.clone()),
    )
    .await;
    let mut gated = Gated::new(&layered);
    let app = gated.app.clone();
    let running = tokio::spawn(async move { send(&app, get("/chat", "alice")).await });
    gated.began.recv().await.unwrap();
    clock.set(at("2026-03-11T00:00:01", "UTC"));
    running.abort();
    let is_free =
        || async { counter(&layered, "day", "UTC", before).await == CounterValue::default() };
    eventually(is_free, "the day before is free").await;
}

/// What a denied request is told at `now`: the reset in headers and body, and the wait.
async fn told(limit: &str, zone: &str, now: &str) -> (String, u64) {
    let now = at(now, zone);
    let clock = Arc::new(ManualClock::new(now));
    let layered = layered_at(Store::Memory, &config(limit, zone), clock).await;
    let app = Router::new()
        .route("/chat", routing::get(async || ()))
        .layer(layered.quota.clone());
    send(&app, get("/chat", "alice")).await;
    let denied = send(&app, get("/chat", "alice")).await;
    assert_eq!(denied.status(), 429);
    let body = json(&denied);
    let resets_at: Timestamp = body["quota_status"]["resets_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let reset = resets_at.as_second().unsigned_abs();
    assert_eq!(header(&denied, "x-quota-reset"), reset.to_string());
    let wait: u64 = header(&denied, "retry-after").parse().unwrap();
    assert_eq!(wait, reset - now.seconds());
    assert!(header(&denied, "ratelimit").ends_with(&format!(";t={wait}")));
    let detail = body["detail"].as_str().unwrap();
    let local = detail
        .split("More on ")
        .nth(1)
        .unwrap()
        .trim_end_matches('.');
    let policy = header(&denied, "ratelimit-policy");
    let length = policy.split(";w=").nth(1).unwrap().parse().unwrap();
    (local.to_owned(), length)
}

/// Window, zone, the time there, when more is to come, and the window's length in seconds.
///
/// In Berlin clocks go forward on 2026-03-29 and back on 2026-10-25.
const CALENDAR: &str = "
    day   Africa/Douala 2026-01-01T12:00:00 2026-01-02 00:00 WAT  86400
    day   Europe/Berlin 2026-03-29T01:30:00 2026-03-30 00:00 CEST 82800
    day   Europe/Berlin 2026-10-25T12:00:00 2026-10-26 00:00 CET  90000
    month Europe/Berlin 2026-03-15T00:00:00 2026-04-01 00:00 CEST 2674800
    month UTC           2028-02-29T23:59:59 2028-03-01 00:00 UTC  2505600
    month UTC           2026-02-01T00:00:00 2026-03-01 00:00 UTC  2419200
    week  UTC           2026-03-15T23:00:00 2026-03-16 00:00 UTC  604800
    year  UTC           2028-06-01T00:00:00 2029-01-01 00:00 UTC  31622400
    hour  Asia/Kolkata  2026-03-15T10:10:00 2026-03-15 11:00 IST  3600
    15m   UTC           2026-03-15T10:10:00 2026-03-15 10:15 UTC  900
";

#[tokio::test]
async fn windows_follow_the_calendar_of_the_plans_zone() {
    for line in CALENDAR.trim().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [window, zone, now, date, time, abbreviation, length] = words[..] else {
            panic!("{line}");
        };
        let (until, told_length) = told(&format!("\"1/{window}\""), zone, now).await;
        assert_eq!(until, format!("{date} {time} {abbreviation}"), "{line}");
        assert_eq!(told_length.to_string(), length, "{line}");
    }
}

/// A tenant's counter follows the zone of the tenant's plan, a user's that of the user's.
#[tokio::test]
async fn users_and_tenants_have_a_zone_each() {
    let text = r#"
        [quotas.messages]
        [plans.free]
        default = true
        timezone = "Asia/Tokyo"
        tenant_limits.messages = "5/day"
        [plans.pro]
        timezone = "Africa/Douala"
        limits.messages = "9/day"
        [[routes]]
        match = "GET /chat"
        charge = { messages = 1 }
    "#;
    let clock = Arc::new(ManualClock::new(at("2026-01-01T12:00:00", "UTC")));
    let layered = layered_at(Store::Memory, text, clock).await;
    let resets: Arc<Mutex<Vec<_>>> = Arc::default();
    let seen = Arc::clone(&resets);
    let handler = async move |handle: QuotaHandle| {
        let statuses = handle.status().into_iter();
        seen.lock()
            .unwrap()
            .extend(statuses.map(|status| (status.scope, status.resets_at.unwrap())));
    };
    let app = Router::new()
        .route("/chat", routing::get(handler))
        .layer(layered.quota.clone());
    let claims = quota_tests::tokens::Claims::user("alice")
        .with_org("acme")
        .with_plan("pro");
    let response = send(&app, quota_tests::requests::get_as("/chat", &claims)).await;
    assert_eq!(response.status(), 200);
    let expected = [
        ("user", "2026-01-01T23:00:00Z"),
        ("tenant", "2026-01-01T15:00:00Z"),
    ];
    let resets = resets.lock().unwrap();
    let resets: Vec<_> = resets
        .iter()
        .map(|(scope, at)| (*scope, at.as_str()))
        .collect();
    assert_eq!(resets, expected);
}

/// Judged by the store's clock: the answer leaves when the store says that the window is over.
async fn a_request_over_the_end_of_a_short_window_is_charged_to_the_first(store: Store) {
    let layered = layered(store, &config("\"5/2s\"", "UTC")).await;
    let mut gated = Gated::new(&layered);
    for _ in 0..2 {
        let app = gated.app.clone();
        let running = tokio::spawn(async move { send(&app, get("/chat", "alice")).await });
        let resets_at: Timestamp = gated.began.recv().await.unwrap().parse().unwrap();
        let end = UnixMillis::new(resets_at.as_millisecond().unsigned_abs());
        let first = UnixMillis::new(end.get() - 1);
        let is_over = || async { layered.store.now() > end };
        eventually(is_over, "the window is over by the store's clock").await;
        gated.go.add_permits(1);
        let response = running.await.unwrap();
        assert_eq!(
            header(&response, "x-quota-reset"),
            end.seconds().to_string()
        );
        let value = counter(&layered, "2s", "UTC", first).await;
        assert_eq!((value.used.get(), value.reserved.get()), (1, 0));
        let value = counter(&layered, "2s", "UTC", end).await;
        assert_eq!((value.used.get(), value.reserved.get()), (0, 0));
    }
}

/// Refused until the window ends, admitted in the next one, as often as the limit says.
async fn a_short_window_refuses_until_it_ends(store: Store) {
    let layered = layered(store, &config("\"1/2s\"", "UTC")).await;
    let app = Router::new()
        .route("/chat", routing::get(async || ()))
        .layer(layered.quota.clone());
    let mut admitted_in = Vec::new();
    let admitted = &mut admitted_in;
    while admitted.len() < 2 {
        let response = send(&app, get("/chat", "alice")).await;
        let reset: u64 = header(&response, "x-quota-reset").parse().unwrap();
        match response.status().as_u16() {
            200 => admitted.push(reset),
            429 => assert_eq!(
                admitted.last(),
                Some(&reset),
                "refused only in a full window"
            ),
            other => panic!("{other}"),
        }
        tokio::task::yield_now().await;
    }
    assert!(
        admitted_in[1] > admitted_in[0],
        "one in each window: {admitted_in:?}"
    );
}

on_both_stores!(
    a_request_over_the_end_of_a_short_window_is_charged_to_the_first,
    a_short_window_refuses_until_it_ends,
);
