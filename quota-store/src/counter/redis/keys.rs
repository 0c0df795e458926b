//! Where things lie in Redis.
//!
//! Every key starts with the prefix and its partition in braces, `quota:{3f}:`, so that a cluster
//! keeps the keys of one owner together. Then follow
//! `e` the epoch, `x` the index of live reservations, `m:ID` a marker, `o:ID` the marker of an operation, `u:TENANT:USER` and `t:TENANT` the hashes
//! of the subjects. Ids are percent-encoded.

use std::fmt::{self, Display, Write as _};

use sha2::{Digest as _, Sha256};

use crate::{CounterKey, OperationId, Requester, ReservationId, Scope, UnixMillis, Window};

/// The number of partitions; it is written into Redis and never changes.
pub(super) const PARTITIONS: usize = 256;

/// Where the counters of one requester lie.
#[derive(Debug)]
pub(super) struct Address {
    /// The first byte of the SHA-256 of the owner's encoded id.
    pub(super) partition: u8,
    base: String,
    user: String,
    tenant: Option<String>,
}

impl Address {
    pub(super) fn of(prefix: &str, requester: &Requester) -> Self {
        let user = Encoded(requester.user.as_str()).to_string();
        let tenant = requester
            .tenant
            .as_ref()
            .map(|tenant| Encoded(tenant.as_str()).to_string());
        let partition = Sha256::digest(tenant.as_ref().unwrap_or(&user))[0];
        Self {
            partition,
            base: base(prefix, partition),
            user,
            tenant,
        }
    }

    pub(super) fn epoch(&self) -> String {
        format!("{}e", self.base)
    }

    /// The index of the partition's live reservations.
    pub(super) fn index(&self) -> String {
        format!("{}x", self.base)
    }

    /// `TENANT:USER`.
    pub(super) fn member(&self) -> impl Display {
        let tenant = self.tenant.as_deref().unwrap_or_default();
        fmt::from_fn(move |f| write!(f, "{tenant}:{}", self.user))
    }

    pub(super) fn marker(&self, id: ReservationId) -> String {
        format!("{}m:{}", self.base, id.as_uuid().simple())
    }

    pub(super) fn operation(&self, id: OperationId) -> String {
        format!("{}o:{}", self.base, id.0.simple())
    }

    /// The hash of the subject; that of the user where there is no tenant.
    pub(super) fn subject(&self, scope: Scope) -> String {
        match (scope, &self.tenant) {
            (Scope::Tenant, Some(tenant)) => format!("{}t:{tenant}", self.base),
            _ => format!(
                "{}u:{}:{}",
                self.base,
                self.tenant.as_deref().unwrap_or_default(),
                self.user
            ),
        }
    }
}

fn base(prefix: &str, partition: u8) -> String {
    format!("{prefix}:{{{partition:02x}}}:")
}

/// The index of live reservations of each partition.
pub(super) fn indexes(prefix: &str) -> impl Iterator<Item = String> {
    (0..=u8::MAX).map(move |partition| format!("{}x", base(prefix, partition)))
}

/// An id with everything but letters, digits and `-._~@` written as `%XX`.
struct Encoded<'a>(&'a str);

impl Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// The field of a counter: `QUOTA:WINDOW`, then the end of its span and, unless it is the usual
/// one, its length, to the base 36, after `+` in minutes, `/` in seconds, `!` in milliseconds.
pub(super) struct Field<'a>(pub(super) &'a CounterKey);

impl Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(counter) = self;
        write!(f, "{}:", counter.quota)?;
        let usual = write_window(f, counter.window)?;
        let (start, end) = (counter.span.start(), counter.span.end());
        let Some(end) = end.map(UnixMillis::get) else {
            return if start.get() == 0 {
                Ok(())
            } else {
                write!(f, ".{}", Base36(start.get()))
            };
        };
        let length = end - start.get();
        let (mark, unit) = match (end, length) {
            _ if end.is_multiple_of(60_000) && length.is_multiple_of(60_000) => ('+', 60_000),
            _ if end.is_multiple_of(1_000) && length.is_multiple_of(1_000) => ('/', 1_000),
            _ => ('!', 1),
        };
        write!(f, "{mark}{}", Base36(end / unit))?;
        if usual == Some(length) {
            return Ok(());
        }
        write!(f, ".{}", Base36(length / unit))
    }
}

/// Writes the kind of window, and answers its usual length in milliseconds, if it has one.
fn write_window(f: &mut fmt::Formatter<'_>, window: Window) -> Result<Option<u64>, fmt::Error> {
    let (letter, usual) = match window {
        Window::Second => ('s', Some(1_000)),
        Window::Minute => ('m', Some(60_000)),
        Window::Hour => ('h', Some(3_600_000)),
        Window::Day => ('D', Some(86_400_000)),
        Window::Week => ('W', Some(7 * 86_400_000)),
        Window::Month => ('M', None),
        Window::Year => ('Y', None),
        Window::Lifetime => ('L', None),
        Window::Seconds(seconds) => {
            write!(f, "c{}", Base36(seconds.get()))?;
            return Ok(seconds.get().checked_mul(1_000));
        }
    };
    f.write_char(letter)?;
    Ok(usual)
}

struct Base36(u64);

impl Display for Base36 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        // 13 digits hold 64 bits.
        let mut text = [0_u8; 13];
        let mut rest = self.0;
        let mut from = text.len();
        loop {
            from -= 1;
            text[from] = DIGITS[usize::try_from(rest % 36).unwrap_or_default()];
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        f.write_str(std::str::from_utf8(&text[from..]).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{QuotaName, TenantId, UserId, WindowSpan};

    fn address(tenant: Option<&str>, user: &str) -> Address {
        let requester = Requester {
            tenant: tenant.map(|tenant| TenantId::new(tenant).unwrap()),
            user: UserId::new(user).unwrap(),
        };
        Address::of("quota", &requester)
    }

    #[test]
    fn keys_are_spread_by_the_owner_and_hold_encoded_ids() {
        let check = |tenant, user, partition, index: &str, key: &str| {
            let address = address(tenant, user);
            assert_eq!(address.partition, partition);
            assert_eq!(address.index(), index);
            assert_eq!(address.subject(Scope::User), key);
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
        assert_eq!(
            address(Some("acme"), "alice").subject(Scope::Tenant),
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
            assert_eq!(Field(&counter).to_string(), expected);
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
