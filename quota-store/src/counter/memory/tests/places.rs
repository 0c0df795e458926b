//! A reservation names the place where it is kept, which is another's once it has ended.

use super::*;

impl Memory {
    async fn settle(&self, reservation: &Reservation) -> Settled {
        let commit = Commit {
            reservation: reservation.clone(),
            amounts: smallvec::smallvec![crate::Amount::ONE],
            attempt: None,
        };
        self.store.commit(&commit).await.unwrap()
    }

    async fn release(&self, reservation: &Reservation) -> Settled {
        self.store.release(reservation).await.unwrap()
    }

    async fn renew(&self, reservation: &Reservation) -> Renewed {
        let one = std::slice::from_ref(reservation);
        self.store.renew(one).await.unwrap()[0]
    }
}

#[tokio::test]
async fn what_was_settled_is_not_found_in_the_place_of_another() {
    let memory = Memory::start().await;
    let first = memory.reserve("ama").await.unwrap();
    memory.commit(first.clone()).await;
    let second = memory.reserve("ama").await.unwrap();
    assert_eq!(first.place, second.place, "the place is taken again");

    assert_eq!(memory.settle(&first).await, Settled::Already);
    assert_eq!(memory.release(&first).await, Settled::Already);
    assert_eq!(memory.renew(&first).await, Renewed::Gone);
    assert_eq!(memory.used("ama").await, 1);

    assert_eq!(memory.renew(&second).await, Renewed::Held);
    memory.commit(second).await;
    assert_eq!(memory.used("ama").await, 2);
}

#[tokio::test]
async fn what_expired_is_charged_late_though_its_place_is_taken() {
    let memory = Memory::start().await;
    let expired = memory.reserve("ama").await.unwrap();
    memory.clock.advance(Duration::from_secs(30));
    memory.store.sweep();
    let next = memory.reserve("ama").await.unwrap();
    assert_eq!(expired.place, next.place, "the place is taken again");

    assert_eq!(memory.renew(&expired).await, Renewed::Gone);
    assert!(matches!(memory.settle(&expired).await, Settled::Late(_)));
    assert_eq!(memory.settle(&expired).await, Settled::Already);
    assert_eq!(memory.used("ama").await, 1);
    assert!(matches!(memory.release(&next).await, Settled::Done(_)));
}

#[tokio::test]
async fn a_reservation_of_another_store_takes_none_of_this_one() {
    let (this, other) = (Memory::start().await, Memory::start().await);
    let mut live = Vec::new();
    for user in 0..500 {
        live.push(this.reserve(&user.to_string()).await.unwrap());
    }
    for user in 0..500 {
        // The stores hash users with keys of their own, so the shards are others.
        let user = user.to_string();
        let foreign = other.reserve(&user).await.unwrap();
        assert_eq!(this.renew(&foreign).await, Renewed::Gone);
        assert_eq!(this.release(&foreign).await, Settled::Already);
        assert!(matches!(this.settle(&foreign).await, Settled::Late(_)));
        assert_eq!(this.settle(&foreign).await, Settled::Already);
        assert_eq!(this.used(&user).await, 1);
    }
    for reservation in &live {
        assert!(matches!(this.settle(reservation).await, Settled::Done(_)));
    }
    assert_eq!(this.leftovers().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_reservation_whose_request_was_made_again_is_found_by_its_id() {
    let memory = Memory::start().await;
    for _ in 0..2 {
        let held = memory.reserve("ama").await.unwrap();
        let request = Arc::new((*held.request).clone());
        let again = Reservation::new(request, held.reserved_at, held.epoch, held.sends);
        let placed = Reservation {
            place: held.place,
            ..again.clone()
        };
        assert_eq!(memory.renew(&again).await, Renewed::Held);
        assert!(matches!(memory.settle(&placed).await, Settled::Done(_)));
        assert_eq!(memory.settle(&held).await, Settled::Already);
    }
    assert_eq!(memory.used("ama").await, 2);
}
