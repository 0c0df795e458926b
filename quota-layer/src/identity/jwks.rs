//! Keys fetched from the issuer's JWKS (RFC 7517), kept fresh without making requests wait.

mod client;
mod document;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwapOption, Guard};
use jsonwebtoken::jwk::Jwk;
use quota_store::{Clock, UnixMillis};
use tokio::{runtime::Handle, sync::watch};

use self::client::{FetchError, JwksClient};
use super::{
    IdentityError, JwtAlgorithm,
    keys::{KeySet, require_public},
};

/// How long the issuer is left alone after a fetch. In this time an unknown `kid` is refused
/// without asking, so strangers who make them up cause six fetches a minute at most.
const MIN_INTERVAL: Duration = Duration::from_secs(10);
/// The same while no keys were ever fetched and every request is refused for it.
const MIN_INTERVAL_WITHOUT_KEYS: Duration = Duration::from_secs(1);

/// The issuer's keys.
pub(super) struct Jwks {
    client: JwksClient,
    algorithms: Vec<JwtAlgorithm>,
    clock: Arc<dyn Clock>,
    stored: ArcSwapOption<Fetched>,
    // Held for a few instructions, never across an await.
    flight: Mutex<Flight>,
    landed: watch::Sender<()>,
}

/// Keys as they were fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    /// Changes when the keys do.
    pub(super) generation: u64,
    source: Vec<Jwk>,
    // From here on, they are fetched again in the background.
    refresh_at: UnixMillis,
    // From here on, one more fetch is waited for before they are used.
    stale_at: UnixMillis,
}

/// The one fetch there is at a time.
#[derive(Default)]
struct Flight {
    running: bool,
    last_landed: Option<UnixMillis>,
}

impl Jwks {
    pub(super) fn new(
        url: &str,
        algorithms: Vec<JwtAlgorithm>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, IdentityError> {
        require_public(&algorithms, "jwks")?;
        Ok(Arc::new(Self {
            client: JwksClient::new(url)?,
            algorithms,
            clock,
            stored: ArcSwapOption::empty(),
            flight: Mutex::default(),
            landed: watch::Sender::new(()),
        }))
    }

    /// The keys of the last fetch that succeeded, however old.
    pub(super) fn stored(&self) -> Guard<Option<Arc<Fetched>>> {
        self.stored.load()
    }

    /// Whether these keys may be used without waiting; starts a fetch where they are old.
    ///
    /// Stale keys are used once a fetch was tried: an issuer that is down refuses nobody.
    pub(super) fn may_use(self: &Arc<Self>, fetched: &Fetched, now: UnixMillis) -> bool {
        if now < fetched.refresh_at {
            return true;
        }
        let usable = now < fetched.stale_at || {
            let last_landed = self.flight().last_landed;
            last_landed.is_some_and(|landed| landed >= fetched.stale_at)
        };
        if usable {
            drop(self.start(now));
        }
        usable
    }

    /// Whether a fetch runs or could be started now.
    pub(super) fn may_fetch(&self, now: UnixMillis) -> bool {
        let flight = self.flight();
        flight.running || self.is_rested(&flight, now)
    }

    /// Fetches the keys, or waits for the fetch that runs; returns at once where the last one is
    /// too recent.
    pub(super) async fn fetch(self: &Arc<Self>, now: UnixMillis) {
        if let Some(mut landed) = self.start(now) {
            // The sender lives in `self`, so this ends when the flight lands.
            drop(landed.changed().await);
        }
    }

    /// Starts a fetch unless one runs, and tells of its landing.
    fn start(self: &Arc<Self>, now: UnixMillis) -> Option<watch::Receiver<()>> {
        let mut flight = self.flight();
        // Subscribed under the lock, so the landing can't be missed.
        let landed = self.landed.subscribe();
        if flight.running {
            return Some(landed);
        }
        if !self.is_rested(&flight, now) {
            return None;
        }
        let runtime = Handle::try_current().ok()?;
        flight.running = true;
        drop(flight);
        // A task of its own: whoever waits for it may leave.
        let landing = Landing(Arc::clone(self));
        drop(runtime.spawn(async move { landing.0.renew().await }));
        Some(landed)
    }

    fn is_rested(&self, flight: &Flight, now: UnixMillis) -> bool {
        let interval = if self.stored.load().is_some() {
            MIN_INTERVAL
        } else {
            MIN_INTERVAL_WITHOUT_KEYS
        };
        // A clock that was set back must not stop fetching.
        flight
            .last_landed
            .is_none_or(|landed| now < landed || now >= landed.saturating_add(interval))
    }

    async fn renew(&self) {
        match self.download().await {
            Ok(fetched) => {
                tracing::debug!(
                    target: "quota::jwks",
                    keys = fetched.source.len(),
                    generation = fetched.generation,
                    "fetched the issuer's keys"
                );
                self.stored.store(Some(Arc::new(fetched)));
            }
            Err(error) => tracing::error!(
                target: "quota::jwks",
                error = &error as &dyn std::error::Error,
                have_keys = self.stored.load().is_some(),
                "the issuer's keys can't be fetched; those fetched before stay in force"
            ),
        }
    }

    async fn download(&self) -> Result<Fetched, FetchError> {
        let (body, lifetime) = self.client.get().await?;
        let source = document::usable_keys(&body, &self.algorithms)?;
        let keys = document::key_set(&source)?;
        let now = self.clock.now();
        Ok(Fetched {
            keys,
            generation: self.generation_of(&source),
            source,
            refresh_at: now.saturating_add(lifetime / 4 * 3),
            stale_at: now.saturating_add(lifetime),
        })
    }

    /// Keys that did not change keep their generation, and with it the tokens known by it.
    fn generation_of(&self, source: &[Jwk]) -> u64 {
        match self.stored.load().as_ref() {
            Some(before) if before.source == source => before.generation,
            Some(before) => before.generation + 1,
            None => 0,
        }
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        // Both fields are valid whatever panicked.
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks")
            .field("algorithms", &self.algorithms)
            .field("stored", &self.stored.load().is_some())
            .finish_non_exhaustive()
    }
}

/// Ends the flight on drop: the fetch may panic, or its runtime may shut down under it.
struct Landing(Arc<Jwks>);

impl Drop for Landing {
    fn drop(&mut self) {
        let now = self.0.clock.now();
        let mut flight = self.0.flight();
        flight.running = false;
        flight.last_landed = Some(now);
        drop(flight);
        self.0.landed.send_replace(());
    }
}
