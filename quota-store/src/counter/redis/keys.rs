//! Where things lie in Redis.
//!
//! Every key starts with the prefix and its partition in braces, `quota:{3f}:`, so that a cluster
//! keeps the keys of one owner together. Then follow
//! `e` the epoch, `g` the generation of its plans, `s` the stream of what the ledger does not have
//! yet, `d` the stream of what it could not take, `l` the lock of who brings counters back, `x` the index of live reservations, `m:ID` a marker, `o:ID` the marker of an operation, `u:TENANT:USER` and `t:TENANT` the hashes
//! of the subjects. Ids are percent-encoded.

use std::borrow::Cow;

use uuid::fmt::Simple;

use super::script::Words;
use crate::{
    CounterKey, OperationId, Requester, ReservationId, Scope, UnixMillis, Window, partition,
};

/// The number of partitions; it is written into Redis and never changes.
pub(super) const PARTITIONS: usize = 256;

/// Where the counters of one requester lie.
#[derive(Debug)]
pub(super) struct Address<'a> {
    /// The first byte of the SHA-256 of the owner's encoded id.
    pub(super) partition: u8,
    base: &'a str,
    user: Cow<'a, str>,
    tenant: Option<Cow<'a, str>>,
}

/// What the keys of each partition start with.
#[derive(Debug)]
pub(super) struct Partitions(Box<[String]>);

impl Partitions {
    pub(super) fn new(prefix: &str) -> Self {
        let base = |partition| format!("{prefix}:{{{partition:02x}}}:");
        Self((0..=u8::MAX).map(base).collect())
    }

    /// One key of each partition.
    pub(super) fn each(&self, letter: char) -> impl Iterator<Item = String> {
        self.0.iter().map(move |base| format!("{base}{letter}"))
    }

    /// One key of a partition.
    pub(super) fn key(&self, partition: u8, letter: char) -> String {
        format!("{}{letter}", self.0[usize::from(partition)])
    }

    /// The index of live reservations of each partition.
    pub(super) fn indexes(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|base| format!("{base}x"))
    }
}

impl<'a> Address<'a> {
    pub(super) fn of(partitions: &'a Partitions, requester: &'a Requester) -> Self {
        let user = partition::encoded(requester.user.as_str());
        let tenant = requester.tenant.as_ref();
        let tenant = tenant.map(|tenant| partition::encoded(tenant.as_str()));
        let owner = tenant.as_ref().unwrap_or(&user);
        let partition = partition::of(owner);
        Self {
            partition,
            base: &partitions.0[usize::from(partition)],
            user,
            tenant,
        }
    }

    pub(super) fn push_epoch(&self, keys: &mut Words) {
        keys.join(&[self.base, "e"]);
    }

    /// The index of the partition's live reservations.
    pub(super) fn push_index(&self, keys: &mut Words) {
        keys.join(&[self.base, "x"]);
    }

    pub(super) fn push_marker(&self, keys: &mut Words, id: ReservationId) {
        let mut hex = [0; Simple::LENGTH];
        keys.join(&[
            self.base,
            "m:",
            id.as_uuid().simple().encode_lower(&mut hex),
        ]);
    }

    pub(super) fn push_operation(&self, keys: &mut Words, id: OperationId) {
        let mut hex = [0; Simple::LENGTH];
        keys.join(&[self.base, "o:", id.0.simple().encode_lower(&mut hex)]);
    }

    /// The hash of the subject; that of the user where there is no tenant.
    pub(super) fn push_subject(&self, keys: &mut Words, scope: Scope) {
        match (scope, &self.tenant) {
            (Scope::Tenant, Some(tenant)) => keys.join(&[self.base, "t:", tenant]),
            (_, tenant) => {
                let tenant = tenant.as_deref().unwrap_or_default();
                keys.join(&[self.base, "u:", tenant, ":", &self.user])
            }
        };
    }

    /// `TENANT:USER`.
    pub(super) fn append_member(&self, bytes: &mut Vec<u8>) {
        let tenant = self.tenant.as_deref().unwrap_or_default();
        for part in [tenant, ":", &self.user] {
            bytes.extend_from_slice(part.as_bytes());
        }
    }
}

/// The field of a counter: `QUOTA:WINDOW`, then the end of its span and, unless it is the usual
/// one, its length, to the base 36, after `+` in minutes, `/` in seconds, `!` in milliseconds.
pub(super) fn append_field(bytes: &mut Vec<u8>, counter: &CounterKey) {
    bytes.extend_from_slice(counter.quota.as_str().as_bytes());
    bytes.push(b':');
    let usual = append_window(bytes, counter.window);
    let (start, end) = (counter.span.start(), counter.span.end());
    let Some(end) = end.map(UnixMillis::get) else {
        if start.get() != 0 {
            bytes.push(b'.');
            append_base_36(bytes, start.get());
        }
        return;
    };
    let length = end - start.get();
    let (mark, unit) = match (end, length) {
        _ if end.is_multiple_of(60_000) && length.is_multiple_of(60_000) => (b'+', 60_000),
        _ if end.is_multiple_of(1_000) && length.is_multiple_of(1_000) => (b'/', 1_000),
        _ => (b'!', 1),
    };
    bytes.push(mark);
    append_base_36(bytes, end / unit);
    if usual != Some(length) {
        bytes.push(b'.');
        append_base_36(bytes, length / unit);
    }
}

/// Appends the kind of window, and answers its usual length in milliseconds, if it has one.
fn append_window(bytes: &mut Vec<u8>, window: Window) -> Option<u64> {
    let (letter, usual) = match window {
        Window::Second => (b's', Some(1_000)),
        Window::Minute => (b'm', Some(60_000)),
        Window::Hour => (b'h', Some(3_600_000)),
        Window::Day => (b'D', Some(86_400_000)),
        Window::Week => (b'W', Some(7 * 86_400_000)),
        Window::Month => (b'M', None),
        Window::Year => (b'Y', None),
        Window::Lifetime => (b'L', None),
        Window::Seconds(seconds) => {
            bytes.push(b'c');
            append_base_36(bytes, seconds.get());
            return seconds.get().checked_mul(1_000);
        }
    };
    bytes.push(letter);
    usual
}

fn append_base_36(bytes: &mut Vec<u8>, number: u64) {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // 13 digits hold 64 bits.
    let mut text = [0_u8; 13];
    let mut rest = number;
    let mut from = text.len();
    loop {
        from -= 1;
        text[from] = DIGITS[usize::try_from(rest % 36).unwrap_or_default()];
        rest /= 36;
        if rest == 0 {
            break;
        }
    }
    bytes.extend_from_slice(&text[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{QuotaName, TenantId, UserId, WindowSpan};

    fn requester(tenant: Option<&str>, user: &str) -> Requester {
        Requester {
            tenant: tenant.map(|tenant| TenantId::new(tenant).unwrap()),
            user: UserId::new(user).unwrap(),
        }
    }

    fn pushed(push: impl FnOnce(&mut Words)) -> String {
        let mut words = Words::default();
        push(&mut words);
        String::from_utf8(words.bytes).unwrap()
    }

    #[test]
    fn keys_are_spread_by_the_owner_and_hold_encoded_ids() {
        let partitions = Partitions::new("quota");
        let check = |tenant, user, partition, index: &str, key: &str| {
            let requester = requester(tenant, user);
            let address = Address::of(&partitions, &requester);
            assert_eq!(address.partition, partition);
            assert_eq!(pushed(|keys| address.push_index(keys)), index);
            assert_eq!(pushed(|keys| address.push_subject(keys, Scope::User)), key);
        };
        check(None, "alice", 0x2b, "quota:{2b}:x", "quota:{2b}:u::alice");
        check(None, "bob", 0x81, "quota:{81}:x", "quota:{81}:u::bob");
        check(
            Some("acme"),
            "alice",
            0x82,
            "quota:{82}:x",
            "quota:{82}:u:acme:alice",
        );
        check(
            None,
            "{} :}é",
            0x7e,
            "quota:{7e}:x",
            "quota:{7e}:u::%7B%7D%20%3A%7D%C3%A9",
        );
        let alice = requester(Some("acme"), "alice");
        let address = Address::of(&partitions, &alice);
        assert_eq!(
            pushed(|keys| address.push_subject(keys, Scope::Tenant)),
            "quota:{82}:t:acme"
        );
    }

    #[test]
    fn fields_are_short_and_tell_every_span_apart() {
        let check = |window, span: Option<(u64, u64)>, expected: &str| {
            let counter = CounterKey {
                scope: Scope::User,
                quota: QuotaName::new("messages").unwrap(),
                window,
                span: span.map_or(WindowSpan::LIFETIME, |(start, end)| {
                    WindowSpan::new(UnixMillis::new(start), UnixMillis::new(end)).unwrap()
                }),
            };
            assert_eq!(
                pushed(|words| append_field(&mut words.bytes, &counter)),
                expected
            );
        };
        let day = 86_400_000;
        check(Window::Lifetime, None, "messages:L");
        check(
            Window::Day,
            Some((20_000 * day, 20_001 * day)),
            "messages:D+h5bc0",
        );
        check(
            Window::Day,
            Some((20_000 * day, 20_001 * day - 3_600_000)),
            "messages:D+h5bac.12c",
        );
        check(Window::Month, Some((0, 31 * day)), "messages:M+yg0.yg0");
        check(Window::Second, Some((1_000, 2_000)), "messages:s/2");
        check(Window::Minute, Some((1, 1_001)), "messages:m!rt.rs");
        check("90s".parse().unwrap(), Some((0, 90_000)), "messages:c2i/2i");
    }
}
