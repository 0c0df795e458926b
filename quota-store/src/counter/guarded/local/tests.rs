use super::*;
use crate::{QuotaName, Scope, UserId, Window, WindowSpan};

fn want(user: &str, end_ms: u64) -> Wanted {
    let span = WindowSpan::new(UnixMillis::new(0), UnixMillis::new(end_ms)).unwrap();
    Wanted(vec![Want {
        hold: 0,
        counter: Counter {
            subject: Subject::User {
                tenant: None,
                user: UserId::new(user).unwrap(),
            },
            key: CounterKey {
                scope: Scope::User,
                quota: QuotaName::new("messages").unwrap(),
                window: Window::Hour,
                span,
            }
            .into(),
        },
        amount: Amount::ONE,
        most: Amount::ONE,
    }])
}

#[test]
fn a_full_budget_gives_nothing_until_a_window_is_over() {
    let budget = Arc::new(Budget::with_capacity(2));
    let take = |user: &str, end_ms, now_ms| {
        budget
            .take(want(user, end_ms), UnixMillis::new(now_ms))
            .map(LocalTicket::keep)
            .is_some()
    };
    assert!(take("a", 10_000, 5_000));
    assert!(take("b", 20_000, 5_000));
    assert!(!take("c", 20_000, 9_999));
    assert!(!take("c", 20_000, 10_500));
    assert!(take("c", 20_000, 10_999));
    assert!(!take("c", 20_000, 10_999));
    assert_eq!(budget.inner().spent.len(), 2);
}

#[test]
fn units_given_back_leave_nothing_behind() {
    let budget = Arc::new(Budget::new());
    let now = UnixMillis::new(1);
    let ticket = budget.take(want("a", 1000), now).unwrap();
    assert!(budget.take(want("a", 1000), now).is_none());
    drop(ticket);
    assert!(budget.inner().spent.is_empty());
    let ticket = budget.take(want("a", 1000), now).unwrap();
    ticket.commit(&smallvec::smallvec![Amount::ZERO]);
    assert!(budget.inner().spent.is_empty());
}

#[test]
fn an_outage_that_is_over_does_not_come_back() {
    let budget = Arc::new(Budget::new());
    let now = UnixMillis::new(1);
    budget.enter(2);
    budget.take(want("a", 1000), now).unwrap().keep();
    budget.enter(1);
    budget.enter(2);
    assert!(budget.take(want("a", 1000), now).is_none());
    budget.enter(3);
    assert!(budget.take(want("a", 1000), now).is_some());
}
