//! The usage log for spreadsheets.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http::{HeaderValue, header};
use quota_store::{
    UserId,
    ledger::{Ledger, LedgerError, LedgerErrorKind, LogPage, LogQuery},
};

use crate::{
    problem::Problem,
    view::{AttemptView, ChargeView},
};

/// How many rows one export has at most.
const ROWS_MAX: usize = 100_000;

/// How many rows are read at once.
const PAGE_ROWS: u32 = 1000;

/// The header row.
const COLUMNS: [&str; 27] = [
    "id",
    "at",
    "outcome",
    "tenant",
    "user",
    "plan",
    "plan_source",
    "route",
    "reserved",
    "charged",
    "status",
    "cause",
    "latency_us",
    "denied_by",
    "denied_scope",
    "denied_limit",
    "denied_hard_limit",
    "denied_used",
    "denied_reserved",
    "denied_requested",
    "tags",
    "metadata",
    "request_id",
    "client_ip",
    "user_agent",
    "revision",
    "count",
];

/// What is left to be exported.
struct Export {
    ledger: Arc<dyn Ledger>,
    query: LogQuery,
    rows_left: usize,
    end: End,
    /// A page that was read and is to be written.
    page: Option<LogPage>,
}

/// All rows that a query finds, from its cursor on, as CSV, written while they are read.
///
/// With a quota in the query, `reserved` and `charged` are its numbers; otherwise they list all.
/// `rows` is how many there are to be, where that was said; otherwise as many as an export may have,
/// and one more row says where there would be more.
pub(super) async fn csv(
    ledger: Arc<dyn Ledger>,
    mut query: LogQuery,
    rows: Option<u32>,
) -> Result<Response, Problem> {
    let rows_wanted = rows.map_or(ROWS_MAX, |rows| usize::try_from(rows).unwrap_or(ROWS_MAX));
    query.limit = rows.map_or(PAGE_ROWS, |rows| rows.min(PAGE_ROWS));
    // The first page is read before the head leaves, so that a ledger that is down is a 503.
    let first = ledger.log(&query).await?;
    let export = Export {
        ledger,
        query,
        rows_left: rows_wanted,
        end: match rows {
            Some(_) => End::AsAsked,
            None => End::Told,
        },
        page: Some(first),
    };
    let head = stream::once(async { Ok(Bytes::from(lines([COLUMNS.map(str::to_owned)])?)) });
    let rows = stream::try_unfold(export, Export::next);
    let body = Body::from_stream(futures_util::StreamExt::chain(head, rows));
    let headers = [
        (
            header::CONTENT_TYPE,
            "text/csv; charset=utf-8; header=present",
        ),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"usage-logs.csv\"",
        ),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    Ok((headers, body).into_response())
}

/// Whether an export that stops before the last row tells so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    AsAsked,
    Told,
}

impl Export {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, LedgerError> {
        let page = match self.page.take() {
            Some(page) => page,
            None if self.query.after.is_none() || self.rows_left == 0 => return Ok(None),
            None => self.ledger.log(&self.query).await?,
        };
        let has_more = page.next.is_some() || page.rows.len() > self.rows_left;
        let attempts = page.rows.into_iter().take(self.rows_left);
        let mut rows: Vec<_> = attempts.map(|attempt| self.row(attempt.into())).collect();
        self.rows_left -= rows.len();
        self.query.after = page.next;
        if self.rows_left == 0 && has_more && self.end == End::Told {
            rows.push(cut_off());
        }
        Ok(Some((Bytes::from(lines(rows)?), self)))
    }

    fn row(&self, attempt: AttemptView) -> [String; COLUMNS.len()] {
        let number = |number: Option<u64>| number.map_or_else(String::new, |it| it.to_string());
        let json = |value: Option<String>| text(value.unwrap_or_default());
        let optional = |value: Option<String>| text(value.unwrap_or_default());
        let denial = attempt.denial.as_ref();
        let tags = (!attempt.tags.is_empty()).then(|| serde_json::json!(attempt.tags).to_string());
        let metadata = (!attempt.metadata.is_empty())
            .then(|| serde_json::Value::Object(attempt.metadata).to_string());
        [
            attempt.id,
            attempt.at.unwrap_or_default(),
            attempt.outcome.to_owned(),
            optional(attempt.tenant),
            optional(attempt.user),
            optional(attempt.plan),
            attempt.plan_source.unwrap_or_default().to_owned(),
            optional(attempt.route),
            self.amounts(&attempt.charges, |charge| charge.reserved.to_string()),
            self.amounts(&attempt.charges, |charge| charge.charged.to_string()),
            number(attempt.status.map(u64::from)),
            optional(attempt.cause),
            number(attempt.latency_us),
            denial.map_or_else(String::new, |denial| text(denial.policy.clone())),
            denial.map_or_else(String::new, |denial| denial.scope.to_owned()),
            number(denial.and_then(|denial| denial.limit)),
            number(denial.and_then(|denial| denial.hard_limit)),
            number(denial.map(|denial| denial.used)),
            number(denial.map(|denial| denial.reserved)),
            number(denial.map(|denial| denial.requested)),
            json(tags),
            json(metadata),
            optional(attempt.request_id),
            optional(attempt.client_ip),
            optional(attempt.user_agent),
            text(attempt.revision),
            attempt.count.to_string(),
        ]
    }

    /// The number of the quota that was asked for, or all with their names.
    fn amounts(&self, charges: &[ChargeView], amount: impl Fn(&ChargeView) -> String) -> String {
        if let Some(quota) = &self.query.quota {
            let charge = charges.iter().find(|charge| charge.quota == quota.as_str());
            return charge.map_or_else(String::new, amount);
        }
        let all: Vec<String> = charges
            .iter()
            .map(|charge| format!("{}={}", charge.quota, amount(charge)))
            .collect();
        all.join("; ")
    }
}

/// The row that says that there are more.
fn cut_off() -> [String; COLUMNS.len()] {
    let mut row = [const { String::new() }; COLUMNS.len()];
    row[0] = format!("cut off after {ROWS_MAX} rows: ask for the others with an earlier `to`");
    row
}

/// A text that no spreadsheet takes for a formula, nor splits into cells that hold one.
///
/// Control characters are replaced, but for line feeds, carriage returns and tabs.
fn text(text: String) -> String {
    // Clients without a token, which are known by their address.
    let mut text = match text.strip_prefix(UserId::ANONYMOUS_PREFIX) {
        Some(address) => format!("ip:{address}"),
        None => text,
    };
    if text.contains(is_unprintable) {
        text = text.replace(is_unprintable, "\u{fffd}");
    }
    let is_hostile = |part: &str| part.trim_start().starts_with(is_formula_sign);
    if text.starts_with(['\n', '\r', '\t']) || text.split(';').any(is_hostile) {
        text.insert(0, '\'');
    }
    text
}

fn is_unprintable(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}

const fn is_formula_sign(c: char) -> bool {
    matches!(
        c,
        '=' | '+' | '-' | '@' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}'
    )
}

fn lines<const N: usize>(
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<Vec<u8>, LedgerError> {
    // Nothing but memory is written to, so nothing fails but the lack of it.
    let failed = |error| LedgerError::new(LedgerErrorKind::Invalid, error);
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for row in rows {
        writer
            .write_record(&row)
            .map_err(|error| failed(error.to_string()))?;
    }
    writer
        .into_inner()
        .map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_formula() {
        for hostile in [
            "=cmd()",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\nx",
            " =1",
            "\u{a0}@x",
            "\u{ff1d}1",
            "\u{ff0b}1",
            "\u{ff0d}1",
            "\u{ff20}x",
            "a;=1",
            "a; -1",
        ] {
            assert_eq!(text(hostile.to_owned()), format!("'{hostile}"));
        }
        assert_eq!(text("alice".to_owned()), "alice");
        assert_eq!(text("a-b; c=d".to_owned()), "a-b; c=d");
        assert_eq!(text("a\0b\u{1b}=".to_owned()), "a\u{fffd}b\u{fffd}=");
        let anonymous = format!("{}192.0.2.1", UserId::ANONYMOUS_PREFIX);
        assert_eq!(text(anonymous), "ip:192.0.2.1");
    }
}
