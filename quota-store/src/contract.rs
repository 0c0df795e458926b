//! The rules that every [`CounterStore`] must keep, as tests (feature `test-util`).
//!
//! Each rule is a function that tries to break one duty of the trait, and panics where it can.
//! [`counter_store_contract!`](crate::counter_store_contract) makes one test of each:
//!
//! ```
//! # use std::{sync::Arc, time::Duration};
//! use quota_store::{
//!     ManualClock, MemoryCounterStore, MemoryOptions, UnixMillis, contract::StoreUnderTest,
//! };
//!
//! struct Memory {
//!     store: Arc<MemoryCounterStore<ManualClock>>,
//!     clock: ManualClock,
//! }
//!
//! impl Memory {
//!     async fn start() -> Self {
//!         let clock = ManualClock::new(UnixMillis::from_seconds(1_800_000_000));
//!         let store = MemoryCounterStore::new(&MemoryOptions::default(), clock.clone());
//!         Self { store: Arc::new(store), clock }
//!     }
//! }
//!
//! impl StoreUnderTest for Memory {
//!     type Store = MemoryCounterStore<ManualClock>;
//!
//!     fn store(&self) -> &Arc<Self::Store> {
//!         &self.store
//!     }
//!
//!     async fn pass(&self, duration: Duration) {
//!         self.clock.advance(duration);
//!     }
//!
//!     async fn leftovers(&self) -> Vec<String> {
//!         Vec::new()
//!     }
//! }
//!
//! mod memory {
//!     quota_store::counter_store_contract!(super::Memory::start);
//! }
//! ```

#![expect(
    clippy::missing_panics_doc,
    reason = "every rule panics where the store breaks it, and nowhere else"
)]

use std::{sync::Arc, time::Duration};

use crate::CounterStore;

mod administration;
mod ask;
mod copies;
pub mod directory;
mod expiry;
mod identity;
pub mod ledger;
mod limits;
mod losses;
mod model;
mod settling;
mod stale;

pub use self::{
    administration::*, copies::*, expiry::*, identity::*, limits::*, losses::*, model::*,
    settling::*, stale::*,
};

/// A store that rules are tried on, alone or in a namespace of its own.
///
/// Its longest reservation (`max_reservation`) is shorter than a day.
pub trait StoreUnderTest: Send + Sync + 'static {
    /// The store.
    type Store: CounterStore;

    /// The store.
    fn store(&self) -> &Arc<Self::Store>;

    /// Lets at least this much of the store's time pass, by moving its clock or by waiting.
    fn pass(&self, duration: Duration) -> impl Future<Output = ()> + Send;

    /// What is left that no live reservation explains: records and index entries of
    /// reservations, and markers without an expiry. Nothing, after everything was settled.
    fn leftovers(&self) -> impl Future<Output = Vec<String>> + Send;
}

/// Makes one test of each rule of [`contract`](crate::contract).
///
/// It takes the path of an async function without arguments, or an async closure, that makes a
/// [`StoreUnderTest`](crate::contract::StoreUnderTest). The crate that uses it needs `tokio` with
/// `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! counter_store_contract {
    ($start:expr) => {
        $crate::counter_store_contract! {
            $start;
            exactly_the_limit_is_allowed_under_concurrency
            all_windows_are_held_or_none
            a_denial_names_every_hold_that_does_not_fit
            user_and_tenant_are_held_together_or_not_at_all
            a_hold_of_zero_is_never_denied
            amounts_are_exact_to_the_digit
            used_stops_at_the_largest_amount
            an_unlimited_hold_is_denied_only_by_overflow
            live_reservations_of_a_user_are_limited
            a_tenants_counter_needs_a_tenant
            a_commit_charges_what_was_used
            a_release_gives_everything_back
            a_reservation_ends_once
            a_commit_is_charged_to_the_window_of_its_reserve
            a_correction_takes_effect_once
            settled_reservations_leave_nothing_behind
            a_copy_of_a_reserve_holds_nothing_twice
            a_copy_is_allowed_where_the_first_took_the_last_unit
            copies_that_arrive_together_hold_once
            a_copy_after_the_settle_does_nothing
            a_reserve_after_its_not_after_does_nothing
            an_abort_before_its_reserve_keeps_it_out
            an_abort_frees_what_was_held
            what_comes_after_an_expiry_frees_nothing
            units_are_free_at_their_expiry_and_not_before
            a_late_commit_is_charged_once_to_its_own_window
            a_commit_older_than_the_memory_does_nothing
            a_commit_of_lost_data_is_charged_once
            a_live_copy_of_lost_data_is_charged_once
            a_marker_goes_before_the_epoch
            a_correction_of_lost_data_needs_its_late_commit
            orphans_are_charged_where_the_request_says_so
            renewing_holds_what_is_live
            a_heap_of_expired_reservations_denies_nobody
            a_window_that_is_not_now_is_stale
            a_plan_of_another_generation_is_stale
            plans_of_another_generation_are_stale
            a_generation_may_come_before_the_first_reserve
            an_untouched_counter_is_zero
            a_reset_leaves_reservations_alone
            used_is_set_and_added_to
            used_is_raised_and_never_lowered
            an_act_is_about_one_subject
            an_act_takes_effect_once
            tenants_never_share_a_counter
            hostile_ids_do_not_collide
            random_steps_agree_with_a_table
        }
    };
    ($start:expr; $($rule:ident)+) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                $crate::contract::$rule(($start)().await).await;
            }
        )+
    };
}
