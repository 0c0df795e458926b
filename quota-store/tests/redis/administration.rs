//! What administrators do, and what is refused.

use std::sync::Arc;

use quota_store::{
    Act, Administered, Amount, CounterStore as _, Hold, Operation, OperationId, Sends,
    StoreErrorKind,
};

use crate::kit::{Kit, amount, done, hold, of_tenant, of_user, one, request, user};

#[tokio::test]
async fn administration_changes_what_is_used_and_nothing_else() {
    let kit = Kit::start().await;
    let alice = user("alice");
    let held = kit.allowed(&one(&alice, 5)).await.reservation;
    let used = async |act| match kit.administer(&alice, act).await {
        Administered::Counter { before, after } => {
            assert_eq!((before.reserved, after.reserved), (amount(1), amount(1)));
            (before.used.get(), after.used.get())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(used(Act::SetUsed(of_user(), amount(7))).await, (0, 7));
    assert_eq!(used(Act::AddUsed(of_user(), -2)).await, (7, 5));
    assert_eq!(used(Act::AddUsed(of_user(), i64::MIN)).await, (5, 0));
    assert_eq!(
        used(Act::AddUsed(of_user(), i64::MAX)).await,
        (0, Amount::MAX.get())
    );
    assert_eq!(used(Act::Reset(of_user())).await, (Amount::MAX.get(), 0));
    assert_eq!(done(&kit.commit(&held, &[1]).await), [(1, 0)]);

    let operation = Operation {
        id: OperationId(uuid::Uuid::from_u128(1)),
        requester: alice.clone(),
        act: Act::AddUsed(of_user(), 1),
    };
    kit.store.administer(&operation).await.unwrap();
    let again = kit.store.administer(&operation).await.unwrap();
    let (before, after) = (amount(1), amount(2));
    assert_eq!(again, Administered::Already { before, after });
    assert_eq!(kit.read(&alice, &[of_user()]).await, [(2, 0)]);
}

#[tokio::test]
async fn what_has_no_meaning_is_refused() {
    let kit = Kit::start().await;
    let check = async |holds: &[Hold]| {
        let request = Arc::new(request(&user("alice"), holds));
        let error = kit.store.reserve(&request, Sends::Once).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
    };
    check(&[hold(of_tenant(), 5, 1)]).await;
    check(&[hold(of_user(), 5, 1), hold(of_user(), 5, 1)]).await;
}
