//! The rules that every [`Directory`] must keep.
//!
//! [`directory_contract!`](crate::directory_contract) makes one test of each:
//!
//! ```
//! # #[cfg(feature = "sqlite")] mod example {
//! use std::sync::Arc;
//!
//! use quota_store::{
//!     contract::directory::DirectoryUnderTest,
//!     ledger::{SqliteLedger, SqliteOptions},
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
//! impl DirectoryUnderTest for Sqlite {
//!     type Directory = SqliteLedger;
//!
//!     async fn open(&self) -> Arc<SqliteLedger> {
//!         let options = SqliteOptions::new(self.0.path().join("quota.db"));
//!         Arc::new(SqliteLedger::open(options).await.expect("it opens"))
//!     }
//! }
//!
//! mod sqlite {
//!     quota_store::directory_contract!(super::Sqlite::start);
//! }
//! # }
//! ```

use std::sync::Arc;

use crate::{directory::Directory, ledger::Ledger};

mod assigned;
mod changing;
mod entries;
mod in_force;
mod keys;
mod plans;

pub use self::{assigned::*, changing::*, entries::*, in_force::*, keys::*, plans::*};

/// A directory that rules are tried on, which nobody else writes.
pub trait DirectoryUnderTest: Send + Sync + 'static {
    /// The directory, with the ledger that it lies in.
    type Directory: Directory + Ledger;

    /// Opens it: always the same one, also when it is open already.
    fn open(&self) -> impl Future<Output = Arc<Self::Directory>> + Send;
}

/// Makes one test of each rule of [`contract::directory`](crate::contract::directory).
///
/// It takes the path of an async function without arguments that makes a
/// [`DirectoryUnderTest`](crate::contract::directory::DirectoryUnderTest). The crate that uses it
/// needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! directory_contract {
    ($start:expr) => {
        $crate::directory_contract! {
            $start;
            what_nothing_was_said_of_is_the_default
            every_field_of_an_entry_comes_back
            user_and_tenant_are_read_together
            hostile_ids_have_entries_of_their_own
            an_acknowledged_change_is_there_after_opening_again
            an_emptied_entry_keeps_its_generation
            forgetting_empties_the_entry
            a_change_from_another_generation_does_nothing
            a_change_comes_with_its_audit
            the_same_change_again_is_told_what_it_made
            an_audit_of_another_act_is_refused
            assignments_out_of_order_are_refused
            changes_at_once_count_once_each
            copies_at_once_take_effect_once
            those_who_have_a_plan_are_paged_by_name
            a_plan_that_is_over_is_nobodys
            plans_are_kept_by_name
            a_change_of_plans_from_another_generation_does_nothing
            changes_of_plans_at_once_count_once_each
            a_window_is_in_force_since_its_plan_got_it
            windows_put_in_force_at_once_begin_once
            a_key_begins_once
            a_finished_key_gives_its_answer_again
            a_key_is_one_actors_and_one_requests
            an_abandoned_key_is_free
            a_key_is_taken_over_after_a_minute
            a_key_is_forgotten_after_a_day
        }
    };
    ($start:expr; $($rule:ident)+) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                $crate::contract::directory::$rule(($start)().await).await;
            }
        )+
    };
}
