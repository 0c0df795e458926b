//! The rules that every [`Ledger`] must keep.
//!
//! [`ledger_contract!`](crate::ledger_contract) makes one test of each:
//!
//! ```
//! # #[cfg(feature = "sqlite")] mod example {
//! use std::sync::Arc;
//!
//! use quota_store::{
//!     contract::ledger::LedgerUnderTest,
//!     ledger::{Ledger, SqliteLedger, SqliteOptions},
//! };
//!
//! struct Sqlite(tempfile::TempDir);
//!
//! impl Sqlite {
//!     async fn start() -> Self {
//!         Self(tempfile::tempdir().expect("a temporary folder"))
//!     }
//! }
//!
//! impl LedgerUnderTest for Sqlite {
//!     async fn open(&self) -> Arc<dyn Ledger> {
//!         let options = SqliteOptions::new(self.0.path().join("quota.db"));
//!         Arc::new(SqliteLedger::open(options).await.expect("it opens"))
//!     }
//! }
//!
//! mod sqlite {
//!     quota_store::ledger_contract!(super::Sqlite::start);
//! }
//! # }
//! ```

use std::sync::Arc;

use crate::ledger::Ledger;

mod appending;
mod auditing;
mod figures;
mod keeping;
mod people;
mod random;
mod reading;
pub(super) mod records;
mod rolling;

pub use self::{
    appending::*, auditing::*, figures::*, keeping::*, people::*, random::*, reading::*,
    records::hostile_texts, rolling::*,
};

/// A ledger that rules are tried on, which nobody else writes.
pub trait LedgerUnderTest: Send + Sync + 'static {
    /// Opens it: always the same one, also when it is open already.
    fn open(&self) -> impl Future<Output = Arc<dyn Ledger>> + Send;
}

/// Makes one test of each rule of [`contract::ledger`](crate::contract::ledger).
///
/// It takes the path of an async function without arguments that makes a
/// [`LedgerUnderTest`](crate::contract::ledger::LedgerUnderTest). The crate that uses it needs
/// `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! ledger_contract {
    ($start:expr) => {
        $crate::ledger_contract! {
            $start;
            the_same_batch_twice_counts_once
            a_copy_within_a_batch_counts_once
            overlapping_batches_of_two_writers_count_once
            many_small_batches_at_once_all_count
            a_refused_batch_leaves_nothing
            what_was_acknowledged_is_there_after_opening_again
            every_field_comes_back
            amounts_are_exact_to_the_digit
            used_stops_at_both_ends
            a_correction_may_come_first
            user_and_tenant_have_counters_of_their_own
            marks_never_go_back
            epochs_are_kept
            hostile_texts_are_only_texts
            pages_show_every_record_once
            conditions_select
            an_attempt_is_found_with_its_history
            tenants_see_nothing_of_each_other
            figures_add_up
            figures_split_by_plan_rule_and_tag
            figures_have_parts
            usage_of_a_user_adds_up
            what_was_charged_in_any_time_adds_up
            balances_are_paged_by_partition
            pruning_changes_no_balance
            pruning_leaves_what_is_recent
            a_pruned_window_that_ended_is_gone
            forgetting_keeps_sums
            rolling_up_changes_no_figure
            what_was_rolled_up_counts_once
            only_what_is_alike_is_rolled_up
            a_rolled_up_attempt_is_found
            forgetting_finds_what_was_rolled_up
            pruning_takes_what_was_rolled_up
            several_roll_up_at_once
            audits_are_listed
            those_who_use_most_are_paged
            those_who_use_anything_are_paged_by_name
            only_open_windows_of_the_tenant_are_shown
            the_last_attempt_of_a_subject_is_known
            everybody_seen_is_paged_by_name
            a_refund_finds_the_windows_of_an_attempt
            random_appends_and_prunes_agree_with_a_table
        }
    };
    ($start:expr; $($rule:ident)+) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                $crate::contract::ledger::$rule(($start)().await).await;
            }
        )+
    };
}
