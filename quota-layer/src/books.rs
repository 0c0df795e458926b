//! What a layer writes down, and reads again.

use std::{fmt, sync::Arc};

use quota_store::{directory::Directory, ledger::Ledger};

/// One database, or what the application brings instead.
#[derive(Clone)]
pub(crate) struct Books {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) directory: Arc<dyn Directory>,
}

impl fmt::Debug for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Books").finish_non_exhaustive()
    }
}
