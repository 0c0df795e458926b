//! Figures about one quota.

use std::{str::FromStr, time::Duration};

use axum::{Extension, Json, extract::State};
use quota_store::{
    QuotaName,
    ledger::{By, StatisticsQuery},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    access::Caller,
    api::Served,
    input::{BucketWord, InPath, Query, QuotaWord, When, no_such_tag, parts, span, widened},
    problem::Problem,
    view::StatisticsView,
    write::Answer,
};

/// Without a time: the last 30 days.
const DEFAULT: Duration = Duration::from_hours(30 * 24);

/// Which figures are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatisticsParameters {
    /// The tenant, or `-` for users without one; required where tokens name tenants.
    #[param(example = "-", min_length = 1, max_length = 256)]
    tenant: Option<String>,
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
    /// What the parts are split by: `plan`, `route` or `tag.NAME`.
    #[param(pattern = "^(plan|route|tag\\.[a-z_]{1,20})$", example = "plan")]
    by: Option<String>,
}

/// Figures about one quota: totals, users, denials, percentiles. Times are widened to whole hours
/// of UTC with `bucket=hour`, else to whole days.
#[utoipa::path(get, path = "/statistics/{quota}", tag = "records", operation_id = "show_statistics",
    params(("quota" = inline(QuotaWord), Path, description = "The quota."), StatisticsParameters),
    responses((status = 200, description = "The figures.", body = StatisticsView)))]
pub(super) async fn show(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    InPath(quota): InPath<QuotaName>,
    Query(asked): Query<StatisticsParameters>,
) -> Answer<StatisticsView> {
    let tenant = caller.tenant(&served, asked.tenant.as_deref())?;
    let span = span(asked.from, asked.to, served.now(), DEFAULT)?;
    let query = StatisticsQuery {
        tenant,
        quota,
        span,
        bucket: parts(asked.bucket, span)?,
        by: by(asked.by.as_deref(), &served)?,
    };
    let administration = served.administration();
    administration
        .check_quota(&query.quota)
        .map_err(Problem::in_query)?;
    let ledger = administration.ledger().map_err(Problem::in_query)?;
    let statistics = ledger.statistics(&query).await?;
    Ok(Json(StatisticsView::new(
        query.quota.as_str(),
        widened(span, asked.bucket.unit()),
        &statistics,
    )))
}

/// What figures are split by.
enum Split {
    Plan,
    Rule,
    Tag(String),
}

impl FromStr for Split {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match (text, text.strip_prefix("tag.")) {
            ("plan", _) => Ok(Self::Plan),
            ("route", _) => Ok(Self::Rule),
            (_, Some(tag)) => Ok(Self::Tag(tag.to_owned())),
            _ => Err("It must be `plan`, `route` or `tag.NAME`."),
        }
    }
}

fn by(by: Option<&str>, served: &Served) -> Result<Option<By>, Problem> {
    let bad = |detail: &str| Problem::parameter("by", detail);
    let Some(by) = by else {
        return Ok(None);
    };
    Ok(Some(match by.parse().map_err(bad)? {
        Split::Plan => By::Plan,
        Split::Rule => By::Rule,
        Split::Tag(tag) => {
            let known = served.settings().tags;
            if !known.contains(&tag) {
                return Err(bad(&no_such_tag(&known)));
            }
            By::Tag(tag)
        }
    }))
}
