//! What requests say, checked: each mistake names its parameter or field.

mod body;
mod bucket;
mod ids;
mod number;
mod query;
mod schema;
mod time;
mod word;

pub(crate) use self::{
    body::{BODY_BYTES_MAX, parse as parse_body},
    bucket::{BucketWord, parts},
    ids::{InPath, attempt, tenant, user},
    number::{Near, Size, Units},
    query::{Nothing, Query, QueryWithTags, no_such_tag},
    schema::{OutcomeWord, PlanWord, QuotaWord, StatusWord, WindowWord},
    time::{When, rfc3339, span, whole_span, widened},
    word::PlainText,
};
