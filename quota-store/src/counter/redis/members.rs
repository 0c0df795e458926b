//! The record of a live reservation, read again after it expired.

use std::num::NonZeroU64;

use uuid::Uuid;

use crate::{
    Amount, CounterKey, Orphans, QuotaName, Requester, ReservationId, Scope, TenantId, UnixMillis,
    UserId, Window, WindowSpan, ledger::event::Held, partition,
};

/// A reservation, as its record tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: ReservationId,
    pub(super) orphans: Orphans,
    pub(super) requester: Requester,
    pub(super) held: Vec<Held>,
}

/// Reads `ID r|cTENANT:USER [u|tFIELD=AMOUNT]...`; `None` where it is no record.
pub(super) fn read(member: &[u8]) -> Option<Member> {
    let (id, rest) = member.split_first_chunk()?;
    let mut words = str::from_utf8(rest).ok()?.split(' ');
    let (orphans, owner) = words.next()?.split_at_checked(1)?;
    let (tenant, user) = owner.split_once(':')?;
    let tenant = match tenant {
        "" => None,
        tenant => Some(TenantId::new(&partition::decoded(tenant)?).ok()?),
    };
    Some(Member {
        id: Uuid::from_bytes(*id).into(),
        orphans: match orphans {
            "r" => Orphans::Release,
            "c" => Orphans::Charge,
            _ => return None,
        },
        requester: Requester {
            tenant,
            user: UserId::new(&partition::decoded(user)?).ok()?,
        },
        held: words.map(held).collect::<Option<_>>()?,
    })
}

fn held(word: &str) -> Option<Held> {
    let (scope, rest) = word.split_at_checked(1)?;
    let (field, amount) = rest.rsplit_once('=')?;
    let scope = match scope {
        "u" => Scope::User,
        "t" => Scope::Tenant,
        _ => return None,
    };
    Some(Held {
        counter: counter(scope, field)?,
        amount: Amount::new(amount.parse().ok()?)?,
    })
}

/// What [`append_field`](super::keys::append_field) wrote.
pub(super) fn counter(scope: Scope, field: &str) -> Option<CounterKey> {
    let (quota, window) = field.split_once(':')?;
    let end_of_kind = window
        .find(|c: char| "+/!.".contains(c))
        .unwrap_or(window.len());
    let (kind, span) = window.split_at(end_of_kind);
    let (window, usual) = kind_of(kind)?;
    Some(CounterKey {
        scope,
        quota: QuotaName::new(quota).ok()?,
        window,
        span: span_of(span, usual)?,
    })
}

/// The kind of window, and its usual length in milliseconds.
fn kind_of(text: &str) -> Option<(Window, Option<u64>)> {
    Some(match text {
        "s" => (Window::Second, Some(1_000)),
        "m" => (Window::Minute, Some(60_000)),
        "h" => (Window::Hour, Some(3_600_000)),
        "D" => (Window::Day, Some(86_400_000)),
        "W" => (Window::Week, Some(7 * 86_400_000)),
        "M" => (Window::Month, None),
        "Y" => (Window::Year, None),
        "L" => (Window::Lifetime, None),
        _ => {
            let seconds = NonZeroU64::new(base_36(text.strip_prefix('c')?)?)?;
            (Window::Seconds(seconds), seconds.get().checked_mul(1_000))
        }
    })
}

fn span_of(text: &str, usual: Option<u64>) -> Option<WindowSpan> {
    let Some(mark) = text.chars().next() else {
        return Some(WindowSpan::LIFETIME);
    };
    let unit = match mark {
        '+' => 60_000,
        '/' => 1_000,
        '!' => 1,
        // A span without an end that begins somewhere; nobody makes one.
        _ => return None,
    };
    let (end, length) = match text[1..].split_once('.') {
        Some((end, length)) => (end, base_36(length)?.checked_mul(unit)?),
        None => (&text[1..], usual?),
    };
    let end = base_36(end)?.checked_mul(unit)?;
    let start = end.checked_sub(length)?;
    WindowSpan::new(UnixMillis::new(start), UnixMillis::new(end))
}

fn base_36(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 36).ok()
}

#[cfg(test)]
mod tests {
    use super::{super::keys::append_field, *};

    fn span(start: u64, end: u64) -> WindowSpan {
        WindowSpan::new(UnixMillis::new(start), UnixMillis::new(end)).unwrap()
    }

    #[test]
    fn every_field_is_read_as_it_was_written() {
        let day = 86_400_000;
        for (window, span) in [
            (Window::Lifetime, WindowSpan::LIFETIME),
            (Window::Day, span(20_000 * day, 20_001 * day)),
            (Window::Day, span(20_000 * day, 20_001 * day - 3_600_000)),
            (Window::Week, span(20_000 * day, 20_007 * day)),
            (Window::Month, span(0, 31 * day)),
            (Window::Year, span(day, 366 * day)),
            (Window::Hour, span(3_600_000, 7_200_000)),
            (Window::Second, span(1_000, 2_000)),
            (Window::Minute, span(1, 1_001)),
            ("90s".parse().unwrap(), span(0, 90_000)),
        ] {
            let key = CounterKey {
                scope: Scope::Tenant,
                quota: QuotaName::new("messages").unwrap(),
                window,
                span,
            };
            let mut field = Vec::new();
            append_field(&mut field, &key);
            let field = String::from_utf8(field).unwrap();
            assert_eq!(counter(Scope::Tenant, &field), Some(key), "{field}");
        }
    }

    #[test]
    fn what_is_no_record_is_not_read() {
        let record = |text: &str| [&[7; 16], text.as_bytes()].concat();
        let good = read(&record("c%7B:b%C3%A9 umessages:L=3 ttokens:c2i/2i=4")).unwrap();
        assert_eq!(good.requester.user.as_str(), "bé");
        assert_eq!(good.requester.tenant.unwrap().as_str(), "{");
        assert_eq!(good.held.len(), 2);
        for bad in [
            "",
            "x:bob",
            "rbob",
            "r:",
            "r:%",
            "r:%ff",
            "r:%é",
            "r:bob ",
            "r:bob u",
            "r:bob umessages:L",
            "r:bob xmessages:L=1",
            "r:bob umessages:L=-1",
            "r:bob umessages:L=99999999999999999",
            "r:bob umessages:Q=1",
            "r:bob umessages:D+é=1",
            "r:bob umessages:M+1=1",
            "r:bob umessages:c0/1=1",
        ] {
            assert_eq!(read(&record(bad)), None, "{bad}");
        }
        assert_eq!(read(b"short"), None);
    }
}
