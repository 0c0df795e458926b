//! Acts of administration are atomic with the requests in flight.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    StoreUnderTest,
    ask::{
        administer, ama, ama_of_acme, ask_messages, commit, messages, read, release,
        tenant_messages, three_windows, units, value,
    },
};
use crate::{Act, Administered, Amount, CounterStore, Operation, OperationId, Scope};

/// A counter that was never touched is zero.
pub async fn an_untouched_counter_is_zero(under: impl StoreUnderTest) {
    let user = three_windows(Scope::User, under.store().now());
    let values = under.store().read(&ama_of_acme(), &user).await;
    assert_eq!(values.expect("the store answers"), [value(0, 0); 3]);
    let none = under.store().read(&ama(), &[]).await;
    assert_eq!(none.expect("the store answers"), []);
    under.store().check().await.expect("the store can serve");
}

/// A reset sets `used` to zero and leaves reservations alone, which are charged when they commit.
pub async fn a_reset_leaves_reservations_alone(under: impl StoreUnderTest) {
    let first = ask_messages(&under, 10, 4).allowed(&under).await;
    commit(&under, &first, &[4]).await;
    let held = ask_messages(&under, 10, 3).allowed(&under).await;
    let done = administer(&under, &ama(), Act::Reset(messages())).await;
    let (before, after) = (value(4, 3), value(0, 3));
    assert_eq!(done, Administered::Counter { before, after });
    ask_messages(&under, 10, 8).denied(&under).await;
    commit(&under, &held, &[2]).await;
    assert_eq!(read(&under, &ama(), &messages()).await, value(2, 0));
}

/// `used` is set and added to, and stops at zero and at the largest amount.
pub async fn used_is_set_and_added_to(under: impl StoreUnderTest) {
    let most = Amount::MAX.get();
    let held = ask_messages(&under, 10, 1).allowed(&under).await;
    let mut used = 0;
    for (act, expected) in [
        (Act::SetUsed(messages(), units(40)), 40),
        (Act::AddUsed(messages(), 2), 42),
        (Act::AddUsed(messages(), -12), 30),
        (Act::AddUsed(messages(), -31), 0),
        (Act::SetUsed(messages(), units(most - 1)), most - 1),
        (Act::AddUsed(messages(), 9_007_199_254_740_991), most),
        (Act::AddUsed(messages(), -9_007_199_254_740_990), 1),
        (Act::AddUsed(messages(), i64::MAX), most),
        (Act::AddUsed(messages(), i64::MIN), 0),
        (Act::SetUsed(messages(), units(10)), 10),
    ] {
        let done = administer(&under, &ama(), act).await;
        let (before, after) = (value(used, 1), value(expected, 1));
        assert_eq!(done, Administered::Counter { before, after });
        used = expected;
    }
    ask_messages(&under, 10, 1).denied(&under).await;
    release(&under, &held).await;
    assert_eq!(read(&under, &ama(), &messages()).await, value(10, 0));
}

/// A counter is raised to an amount, and never lowered by that.
pub async fn used_is_raised_and_never_lowered(under: impl StoreUnderTest) {
    let held = ask_messages(&under, 10, 1).allowed(&under).await;
    let mut used = 0;
    for (amount, expected) in [(0, 0), (4, 4), (3, 4), (4, 4), (10, 10)] {
        let done = administer(&under, &ama(), Act::Raise(messages(), units(amount))).await;
        let (before, after) = (value(used, 1), value(expected, 1));
        assert_eq!(done, Administered::Counter { before, after });
        used = expected;
    }
    ask_messages(&under, 10, 1).denied(&under).await;
    release(&under, &held).await;
    assert_eq!(read(&under, &ama(), &messages()).await, value(10, 0));
}

/// Acts on the tenant's counters do not touch the user's.
pub async fn an_act_is_about_one_subject(under: impl StoreUnderTest) {
    let act = Act::SetUsed(tenant_messages(), units(7));
    administer(&under, &ama_of_acme(), act).await;
    assert_eq!(read(&under, &ama_of_acme(), &messages()).await, value(0, 0));
    let tenant = read(&under, &ama_of_acme(), &tenant_messages()).await;
    assert_eq!(tenant, value(7, 0));
}

/// The same act sent twice, or many times together, takes effect once.
pub async fn an_act_takes_effect_once(under: impl StoreUnderTest) {
    let under = Arc::new(under);
    let operation = Arc::new(Operation {
        id: OperationId(Uuid::from_u128(rand::random())),
        requester: ama(),
        act: Act::AddUsed(messages(), 5),
    });
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (under, operation) = (Arc::clone(&under), Arc::clone(&operation));
        tasks.push(tokio::spawn(async move {
            let done = under.store().administer(&operation).await;
            done.expect("the store answers")
        }));
    }
    let repeated = Administered::Already {
        before: units(0),
        after: units(5),
    };
    let mut already = 0;
    for task in tasks {
        let done = task.await.expect("the task ends");
        already += usize::from(done == repeated);
    }
    assert_eq!(already, 7);
    assert_eq!(read(&*under, &ama(), &messages()).await, value(5, 0));
    assert_eq!(under.leftovers().await, Vec::<String>::new());
}
