//! What a user used.

use std::time::Duration;

use axum::{Json, extract::State};
use quota_store::ledger::UsageQuery;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    api::Served,
    identity::Identified,
    input::{BucketWord, Query, QuotaWord, When, no_such_tag, parts, span, widened},
    problem::Problem,
    view::{Split, UsageView},
    write::Answer,
};

/// Without a time: the last 30 days.
const DEFAULT: Duration = Duration::from_hours(30 * 24);

/// Which usage is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageParameters {
    /// From when on; by default 30 days before the end.
    #[param(inline)]
    from: Option<When>,
    /// Until when; by default until now.
    #[param(inline)]
    to: Option<When>,
    /// The parts of the time, in UTC: `day` where it is left out.
    #[serde(default)]
    #[param(inline, required = false)]
    bucket: BucketWord,
    /// Only this quota.
    #[param(inline)]
    quota: Option<QuotaWord>,
    /// The tag that the parts are split by: `tag.NAME`.
    #[param(pattern = "^tag\\.[a-z_]{1,20}$", example = "tag.model")]
    by: Option<String>,
}

/// What you used: series, totals and percentages. Times are widened to whole days of UTC.
#[utoipa::path(get, path = "/quota/usage", tag = "user", operation_id = "show_usage",
    params(UsageParameters),
    responses((status = 200, description = "What you used.", body = UsageView)))]
pub(super) async fn show(
    State(served): State<Served>,
    Identified { requester, .. }: Identified,
    Query(asked): Query<UsageParameters>,
) -> Answer<UsageView> {
    let span = span(asked.from, asked.to, served.now(), DEFAULT)?;
    let query = UsageQuery {
        requester,
        quota: asked.quota.map(|quota| quota.0),
        span,
        bucket: parts(asked.bucket, span)?,
        by_tag: tag(asked.by.as_deref(), &served)?,
    };
    let administration = served.administration();
    if let Some(quota) = &query.quota {
        administration
            .check_quota(quota)
            .map_err(Problem::in_query)?;
    }
    let ledger = administration.ledger().map_err(Problem::in_query)?;
    let usage = ledger.usage(&query).await?;
    // By the hour attempts are looked at one by one.
    let span = match asked.bucket {
        BucketWord::Hour => span,
        day => widened(span, day.unit()),
    };
    let split = match query.by_tag {
        Some(_) => Split::ByTag,
        None => Split::No,
    };
    Ok(Json(UsageView::new(span, &usage, split)))
}

fn tag(by: Option<&str>, served: &Served) -> Result<Option<String>, Problem> {
    let Some(by) = by else {
        return Ok(None);
    };
    let tag = by
        .strip_prefix("tag.")
        .ok_or_else(|| Problem::parameter("by", "It must be `tag.NAME`."))?;
    let known = served.settings().tags;
    if known.iter().any(|one| one == tag) {
        Ok(Some(tag.to_owned()))
    } else {
        Err(Problem::parameter("by", no_such_tag(&known)))
    }
}
