//! Requests in few words, and their answers.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use uuid::Uuid;

use super::StoreUnderTest;
use crate::{
    Act, Administered, Allowed, Amount, Bound, Cause, Commit, Correction, CounterKey, CounterStore,
    CounterValue, Decision, Denied, Hold, Holds, KnownGeneration, Operation, OperationId, Orphans,
    QuotaName, Requester, Reservation, ReservationId, Reserve, Scope, Sends, Settled, Stale,
    TenantId, UnixMillis, UserId, Window, WindowSpan,
};

/// A time to live that no rule outlasts.
pub(super) const LONG: Duration = Duration::from_mins(10);
/// A time to live that rules wait for.
pub(super) const SHORT: Duration = Duration::from_secs(1);
/// How long a rule waits before it looks again.
pub(super) const A_WHILE: Duration = Duration::from_millis(50);

/// The number of units.
pub(super) fn units(count: u64) -> Amount {
    Amount::new(count).expect("rules use amounts that exist")
}

/// A bound of so many units.
pub(super) fn at_most(count: u64) -> Bound {
    Bound::AtMost(units(count))
}

/// What a counter with these units says.
pub(super) fn value(used: u64, reserved: u64) -> CounterValue {
    CounterValue {
        used: units(used),
        reserved: units(reserved),
    }
}

/// A user, perhaps of a tenant.
pub(super) fn requester(tenant: Option<&str>, user: &str) -> Requester {
    let tenant = tenant.map(|id| TenantId::new(id).expect("rules use ids that are not empty"));
    let user = UserId::new(user).expect("rules use ids that are not empty");
    Requester { tenant, user }
}

/// A user without a tenant.
pub(super) fn ama() -> Requester {
    requester(None, "ama")
}

/// A user of a tenant.
pub(super) fn ama_of_acme() -> Requester {
    requester(Some("acme"), "ama")
}

/// A counter of one scope and window.
pub(super) fn counter(
    scope: Scope,
    quota: &str,
    (window, span): (Window, WindowSpan),
) -> CounterKey {
    CounterKey {
        scope,
        quota: QuotaName::new(quota).expect("rules use valid names"),
        window,
        span,
    }
}

/// All of time.
pub(super) const LIFETIME: (Window, WindowSpan) = (Window::Lifetime, WindowSpan::LIFETIME);

/// The user's counter of all time.
pub(super) fn messages() -> CounterKey {
    counter(Scope::User, "messages", LIFETIME)
}

/// The tenant's counter of all time.
pub(super) fn tenant_messages() -> CounterKey {
    counter(Scope::Tenant, "messages", LIFETIME)
}

/// The window of so many seconds that contains `now`.
pub(super) fn window_of(seconds: u64, now: UnixMillis) -> (Window, WindowSpan) {
    let seconds = NonZeroU64::new(seconds).expect("rules use windows that have a length");
    let start = now.seconds() / seconds * seconds.get();
    let span = WindowSpan::new(
        UnixMillis::from_seconds(start),
        UnixMillis::from_seconds(start + seconds.get()),
    );
    let span = span.expect("a window that has a length ends after it begins");
    (Window::Seconds(seconds), span)
}

/// The same counter in windows of all time, 100 years and 99 years.
pub(super) fn three_windows(scope: Scope, now: UnixMillis) -> [CounterKey; 3] {
    let day = 86_400;
    [
        LIFETIME,
        window_of(36_525 * day, now),
        window_of(36_159 * day, now),
    ]
    .map(|window| counter(scope, "messages", window))
}

/// A reserve in the making.
#[derive(Clone)]
pub(super) struct Ask(pub(super) Reserve);

impl Ask {
    /// A request that holds nothing yet.
    pub(super) fn of(under: &impl StoreUnderTest, requester: &Requester) -> Self {
        let now = under.store().now();
        Self(Reserve {
            id: ReservationId::generate(now),
            requester: requester.clone(),
            not_after: now.saturating_add(LONG / 2),
            ttl: LONG,
            user_generation: KnownGeneration::Untracked,
            plans_generation: KnownGeneration::Untracked,
            tenant_generation: KnownGeneration::Untracked,
            max_in_flight: u32::MAX,
            orphans: Orphans::Release,
            holds: Holds::default(),
        })
    }

    /// With so many units of a counter.
    pub(super) fn hold(mut self, counter: &CounterKey, hard: Bound, amount: u64) -> Self {
        let hold = Hold {
            counter: Arc::new(counter.clone()),
            hard,
            amount: units(amount),
        };
        self.0.holds = self.0.holds.iter().cloned().chain([hold]).collect();
        self
    }

    /// With a time to live of a second.
    pub(super) fn short(mut self, under: &impl StoreUnderTest) -> Self {
        self.0.ttl = SHORT;
        self.0.not_after = under.store().now().saturating_add(SHORT);
        self
    }

    /// Changed in any other way.
    pub(super) fn with(mut self, change: impl FnOnce(&mut Reserve)) -> Self {
        change(&mut self.0);
        self
    }

    /// The request.
    pub(super) fn request(self) -> Arc<Reserve> {
        Arc::new(self.0)
    }

    /// Sends it.
    pub(super) async fn send(self, under: &impl StoreUnderTest) -> Decision {
        send(under, &self.request()).await
    }

    /// Sends it; it must be allowed.
    pub(super) async fn allowed(self, under: &impl StoreUnderTest) -> Reservation {
        allowed(self.send(under).await).reservation
    }

    /// Sends it; it must be denied.
    pub(super) async fn denied(self, under: &impl StoreUnderTest) -> Denied {
        denied(self.send(under).await)
    }
}

/// So many units of the user's counter of all time.
pub(super) fn ask_messages(under: &impl StoreUnderTest, hard: u64, amount: u64) -> Ask {
    Ask::of(under, &ama()).hold(&messages(), at_most(hard), amount)
}

/// Sends a reserve for the first time.
pub(super) async fn send(under: &impl StoreUnderTest, request: &Arc<Reserve>) -> Decision {
    let decision = under.store().reserve(request, Sends::Once).await;
    decision.expect("the store answers")
}

/// Sends a reserve again.
pub(super) async fn send_again(under: &impl StoreUnderTest, request: &Arc<Reserve>) -> Decision {
    let decision = under.store().reserve(request, Sends::Repeated).await;
    decision.expect("the store answers")
}

/// What was allowed.
#[track_caller]
pub(super) fn allowed(decision: Decision) -> Allowed {
    match decision {
        Decision::Allowed(allowed) => allowed,
        other => unreachable!("the store must allow this, and answered {other:?}"),
    }
}

/// What was denied.
#[track_caller]
pub(super) fn denied(decision: Decision) -> Denied {
    match decision {
        Decision::Denied(denied) => denied,
        other => unreachable!("the store must deny this, and answered {other:?}"),
    }
}

/// What was stale.
#[track_caller]
pub(super) fn stale(decision: Decision) -> Stale {
    match decision {
        Decision::Stale(stale) => stale,
        other => unreachable!("the store must call this stale, and answered {other:?}"),
    }
}

/// Checks that nothing was or will be held.
#[track_caller]
pub(super) fn assert_void(decision: &Decision) {
    assert!(matches!(decision, Decision::Void), "{decision:?}");
}

/// The cause of a denial by these holds.
pub(super) fn by_limits(holds: &[usize]) -> Cause {
    Cause::Limits(holds.iter().copied().collect())
}

/// Charges a reservation.
pub(super) async fn commit(
    under: &impl StoreUnderTest,
    reservation: &Reservation,
    amounts: &[u64],
) -> Settled {
    let commit = Commit {
        reservation: reservation.clone(),
        amounts: amounts.iter().copied().map(units).collect(),
        attempt: None,
    };
    let settled = under.store().commit(&commit).await;
    settled.expect("the store answers")
}

/// Gives a reservation back.
pub(super) async fn release(under: &impl StoreUnderTest, reservation: &Reservation) -> Settled {
    let settled = under.store().release(reservation).await;
    settled.expect("the store answers")
}

/// Aborts a reserve.
pub(super) async fn abort(under: &impl StoreUnderTest, request: &Arc<Reserve>) -> Settled {
    let settled = under.store().abort(request).await;
    settled.expect("the store answers")
}

/// Corrects a reservation.
pub(super) async fn correct(
    under: &impl StoreUnderTest,
    reservation: &Reservation,
    differences: &[i64],
) -> Settled {
    let correction = Correction {
        reservation: reservation.clone(),
        differences: differences.iter().copied().collect(),
        attempt: None,
    };
    let settled = under.store().correct(&correction).await;
    settled.expect("the store answers")
}

/// Does an act of administration with an id of its own.
pub(super) async fn administer(
    under: &impl StoreUnderTest,
    requester: &Requester,
    act: Act,
) -> Administered {
    let id = OperationId(Uuid::from_u128(rand::random()));
    let requester = requester.clone();
    let operation = Operation { id, requester, act };
    let done = under.store().administer(&operation).await;
    done.expect("the store answers")
}

/// What one counter says.
pub(super) async fn read(
    under: &impl StoreUnderTest,
    requester: &Requester,
    counter: &CounterKey,
) -> CounterValue {
    let values = read_all(under, requester, std::slice::from_ref(counter)).await;
    *values.first().expect("the store answers with one value")
}

/// What several counters say.
pub(super) async fn read_all(
    under: &impl StoreUnderTest,
    requester: &Requester,
    counters: &[CounterKey],
) -> Vec<CounterValue> {
    let values = under.store().read(requester, counters).await;
    let values = values.expect("the store answers");
    assert_eq!(values.len(), counters.len(), "one value per counter");
    values
}

/// Lets time pass until the store's clock is past `instant`.
pub(super) async fn pass_until(under: &impl StoreUnderTest, instant: UnixMillis) {
    while under.store().now() < instant {
        under
            .pass(instant.saturating_since(under.store().now()))
            .await;
    }
}

/// Lets a reservation expire, and the store notice.
pub(super) async fn expire(under: &impl StoreUnderTest, reservation: &Reservation) {
    let expires = reservation
        .reserved_at
        .saturating_add(reservation.request.ttl);
    // The store's clock may be known here only to within some milliseconds.
    pass_until(under, expires.saturating_add(A_WHILE)).await;
    let request = &reservation.request;
    let counters: Vec<_> = request
        .holds
        .iter()
        .map(|hold| (*hold.counter).clone())
        .collect();
    read_all(under, &request.requester, &counters).await;
}
