//! Random batches and prunes, compared with a plain table.

use std::{collections::HashMap, sync::Arc};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    LedgerUnderTest,
    records::{START, append, attempt, batch, daily, lifetime, of, posting, used_of},
};
use crate::{
    CounterKey, Requester, Scope, UnixMillis,
    ledger::{Attempt, Ledger, Posting, PostingKind},
};

/// Whatever is appended, however often, and whatever is pruned: each counter says the sum of the
/// postings that were made for it.
///
/// The seed is fixed, so that a failure can be repeated.
pub async fn random_appends_and_prunes_agree_with_a_table(under: impl LedgerUnderTest) {
    let ledgers = [under.open().await, under.open().await];
    let mut table = Table::new();
    for step in 0..120 {
        let ledger = &ledgers[step % 2];
        match table.random.random_range(0..6) {
            0 => table.prune(ledger).await,
            _ => table.append(ledger).await,
        }
        if step % 10 == 9 {
            table.compare(ledger).await;
        }
    }
}

struct Table {
    random: StdRng,
    people: [Requester; 3],
    counters: [CounterKey; 4],
    /// What may come again, with whether it came.
    made: Vec<(Attempt, Posting, bool)>,
    next: u64,
    pruned_before: u64,
    /// By person and counter.
    used: HashMap<(usize, usize), i64>,
}

impl Table {
    fn new() -> Self {
        Self {
            random: StdRng::seed_from_u64(11),
            people: [
                of(Some("acme"), "ama"),
                of(Some("acme"), "bob"),
                of(None, "ama"),
            ],
            counters: [
                daily(Scope::User, 0),
                lifetime(Scope::User),
                daily(Scope::Tenant, 0),
                lifetime(Scope::Tenant),
            ],
            made: Vec::new(),
            next: 0,
            pruned_before: START,
            used: HashMap::new(),
        }
    }

    /// Makes an attempt and a posting that were never made before.
    fn make(&mut self) {
        let person = &self.people[self.random.random_range(0..3)];
        let kinds = PostingKind::ALL;
        let kind = kinds[self.random.random_range(0..kinds.len())];
        let mut entries = Vec::new();
        for counter in &self.counters {
            let is_theirs = person.tenant.is_some() || counter.scope == Scope::User;
            if is_theirs && self.random.random_range(0..2) == 0 {
                entries.push((counter.clone(), self.random.random_range(-3..9)));
            }
        }
        // Two kinds of one reservation are two postings.
        let number = self.next / 2;
        self.next += 1;
        let mut posting = posting(person, number, kind, entries);
        let at = self.pruned_before + self.random.random_range(0..50);
        posting.at = UnixMillis::new(at);
        let mut record = attempt(person, self.next, at);
        record.tags.insert("goal".to_owned(), "grow".to_owned());
        let is_copy = self.made.iter().any(|(_, other, _)| {
            (other.reservation, other.kind) == (posting.reservation, posting.kind)
        });
        if !is_copy {
            self.made.push((record, posting, false));
        }
    }

    /// Appends some of what was made, in any order, and some of it again.
    async fn append(&mut self, ledger: &Arc<dyn Ledger>) {
        for _ in 0..self.random.random_range(1..8) {
            self.make();
        }
        let (mut attempts, mut postings) = (Vec::new(), Vec::new());
        for place in 0..self.made.len() {
            if self.random.random_range(0..3) > 0 {
                continue;
            }
            let (attempt, posting, came) = &mut self.made[place];
            attempts.push(attempt.clone());
            postings.push(posting.clone());
            let is_new = !std::mem::replace(came, true);
            if is_new {
                self.count(place);
            }
        }
        attempts.reverse();
        append(ledger, batch(attempts, postings)).await;
    }

    fn count(&mut self, place: usize) {
        let posting = &self.made[place].1;
        for entry in &posting.entries {
            let counter = self.counters.iter().position(|one| *one == entry.counter);
            let counter = counter.expect("it is one of the table's");
            for (place, person) in self.people.iter().enumerate() {
                let is_theirs = person.tenant == posting.tenant
                    && (entry.counter.scope == Scope::Tenant
                        || Some(&person.user) == posting.user.as_ref());
                if is_theirs {
                    *self.used.entry((place, counter)).or_default() += entry.amount;
                }
            }
        }
    }

    /// Prunes a little further; what came from before that will not come again.
    async fn prune(&mut self, ledger: &Arc<dyn Ledger>) {
        self.pruned_before += self.random.random_range(1..20);
        let before = UnixMillis::new(self.pruned_before);
        while ledger.prune(before, 4).await.expect("it prunes").rows == 4 {}
        self.made.retain(|(_, posting, _)| posting.at >= before);
    }

    async fn compare(&self, ledger: &Arc<dyn Ledger>) {
        for (place, person) in self.people.iter().enumerate() {
            for (number, counter) in self.counters.iter().enumerate() {
                if counter.scope == Scope::Tenant && person.tenant.is_none() {
                    continue;
                }
                let sum = self.used.get(&(place, number)).copied().unwrap_or_default();
                let expected = sum.max(0).unsigned_abs();
                assert_eq!(used_of(ledger, person, counter).await, expected);
            }
        }
    }
}
