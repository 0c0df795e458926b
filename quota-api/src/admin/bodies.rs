//! The bodies of changes, of users and of tenants alike.

use quota_layer::administration::{
    AdjustTo, Adjustment, ChangeAt, ChangeRule, Expires, PlanChange, Whom,
};
use quota_store::{Amount, Bound, ReservationId, directory::Status};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::{
    api::Served,
    input::{PlainText, PlanWord, QuotaWord, StatusWord, Units, When, WindowWord, attempt, user},
    problem::Problem,
};

/// Sets what was used of flow quotas to zero.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reset {
    /// The quota; all of them where it is left out.
    pub(crate) quota: Option<QuotaWord>,
    /// The window; all of them where it is left out.
    pub(crate) window: Option<WindowWord>,
    /// Why.
    pub(crate) reason: PlainText,
}

/// Sets another limit than the plan's. Either `limit` or `add` is given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adjust {
    /// The quota.
    quota: QuotaWord,
    /// The window.
    window: WindowWord,
    /// The limit: a number, `"unlimited"`, or null for the plan's own again.
    #[serde(default)]
    limit: LimitField,
    /// How much more, or less, than now.
    #[schema(minimum = -9_007_199_254_740_991_i64, maximum = 9_007_199_254_740_991_i64)]
    add: Option<i64>,
    /// Until when: a time, or `"window-end"`; for good where it is left out.
    expires_at: Option<ExpiresField>,
    /// Why.
    pub(crate) reason: PlainText,
}

impl Adjust {
    pub(crate) fn adjustment(&self) -> Result<Adjustment, Problem> {
        let to = match (self.limit, self.add) {
            (LimitField::Absent, None) => {
                return Err(Problem::field("/limit", "Give `limit` or `add`."));
            }
            (LimitField::Absent, Some(add)) => AdjustTo::Add(add),
            (LimitField::To(to), None) => to,
            (LimitField::To(_), Some(_)) => {
                return Err(Problem::field("/add", "Give `limit` or `add`, not both."));
            }
        };
        Ok(Adjustment {
            quota: self.quota.0.clone(),
            window: self.window.0.0,
            to,
            expires: match self.expires_at {
                None => Expires::Never,
                Some(ExpiresField(expires)) => expires,
            },
        })
    }
}

/// A limit, null, or nothing at all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum LimitField {
    #[default]
    Absent,
    To(AdjustTo),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number of units, \"unlimited\" or null")]
enum LimitValue {
    Units(Units),
    Word(Unlimited),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unlimited {
    Unlimited,
}

impl<'de> Deserialize<'de> for LimitField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::<LimitValue>::deserialize(deserializer)?;
        Ok(Self::To(match value {
            None => AdjustTo::Plan,
            Some(LimitValue::Units(Units(units))) => AdjustTo::Limit(Bound::AtMost(units)),
            Some(LimitValue::Word(Unlimited::Unlimited)) => AdjustTo::Limit(Bound::Unlimited),
        }))
    }
}

/// A time, or `window-end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpiresField(Expires);

impl<'de> Deserialize<'de> for ExpiresField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "\"window-end\", a time such as 2026-01-31T12:00:00Z, or Unix seconds"
        )]
        enum Value {
            Word(WindowEnd),
            At(When),
        }

        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum WindowEnd {
            WindowEnd,
        }

        Ok(Self(match Value::deserialize(deserializer)? {
            Value::Word(WindowEnd::WindowEnd) => Expires::WindowEnd,
            Value::At(When(at)) => Expires::At(at),
        }))
    }
}

/// Sets what was used.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetUsed {
    /// The quota.
    pub(crate) quota: QuotaWord,
    /// The window.
    pub(crate) window: WindowWord,
    /// What was used.
    pub(crate) used: Units,
    /// Why.
    pub(crate) reason: PlainText,
}

/// Gives units back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refund {
    /// The quota.
    pub(crate) quota: QuotaWord,
    /// How much.
    #[schema(value_type = u64, minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    pub(crate) amount: Units,
    /// The attempt whose windows it goes back to; the present ones where it is left out.
    #[schema(format = "uuid")]
    pub(crate) event: Option<String>,
    /// Why.
    pub(crate) reason: PlainText,
}

/// Gives units back to a tenant as a whole.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundTenant {
    /// The quota.
    pub(crate) quota: QuotaWord,
    /// How much.
    #[schema(value_type = u64, minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    pub(crate) amount: Units,
    /// Why.
    pub(crate) reason: PlainText,
}

/// The amount of a refund.
pub(crate) fn at_least_one(Units(amount): Units) -> Result<Amount, Problem> {
    if amount.is_zero() {
        return Err(Problem::field("/amount", "It must be 1 at least."));
    }
    Ok(amount)
}

impl Refund {
    /// At least one unit.
    pub(crate) fn units(&self) -> Result<Amount, Problem> {
        at_least_one(self.amount)
    }

    /// The attempt that is meant, by its id or by `instance` of a refusal.
    pub(crate) fn attempt(&self) -> Result<Option<ReservationId>, Problem> {
        let Some(event) = &self.event else {
            return Ok(None);
        };
        attempt(event)
            .map(Some)
            .map_err(|detail| Problem::field("/event", detail))
    }
}

/// What becomes of what was used in the windows that are open.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RuleWord {
    /// It stays.
    #[default]
    Carry,
    /// It begins at zero.
    Reset,
    /// It stays, and the limit is each plan's share of the window by time.
    Prorate,
    /// It stays, and what was left of the old limit is added to the new one.
    Additive,
}

/// When a change of plan takes effect.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AtWord {
    /// At once.
    #[default]
    Now,
    /// When the present billing period ends.
    PeriodEnd,
}

impl From<RuleWord> for ChangeRule {
    fn from(word: RuleWord) -> Self {
        match word {
            RuleWord::Carry => Self::Carry,
            RuleWord::Reset => Self::Reset,
            RuleWord::Prorate => Self::Prorate,
            RuleWord::Additive => Self::Additive,
        }
    }
}

/// Gives another plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Assign {
    /// The plan.
    plan: PlanWord,
    /// What becomes of what was used: `carry` where it is left out.
    #[serde(default)]
    rule: RuleWord,
    /// When: `now` where it is left out.
    #[serde(default)]
    at: AtWord,
    /// Where billing periods begin.
    anchor: Option<When>,
    /// The IANA time zone of its windows.
    #[schema(example = "Africa/Douala", max_length = 64)]
    timezone: Option<String>,
    /// From when on, instead of now.
    starts_at: Option<When>,
    /// Until when.
    ends_at: Option<When>,
    /// The plan that follows then.
    then: Option<PlanWord>,
    /// How the subscription stands: `active` where it is left out.
    status: Option<StatusWord>,
    /// Why.
    pub(crate) reason: PlainText,
}

impl Assign {
    pub(crate) fn change(&self) -> PlanChange {
        PlanChange {
            plan: self.plan.0.clone(),
            rule: self.rule.into(),
            at: match self.at {
                AtWord::Now => ChangeAt::Now,
                AtWord::PeriodEnd => ChangeAt::PeriodEnd,
            },
            anchor: self.anchor.map(|When(at)| at),
            timezone: self.timezone.clone(),
            starts_at: self.starts_at.map(|When(at)| at),
            ends_at: self.ends_at.map(|When(at)| at),
            then: self.then.as_ref().map(|plan| plan.0.clone()),
            status: self.status.map_or(Status::Active, |status| status.0.0),
        }
    }
}

/// Gives many users another plan. Either `users` or `where` is given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssignMany {
    /// These users.
    #[schema(max_items = 10_000)]
    users: Option<Vec<String>>,
    /// The users for whom this holds.
    r#where: Option<Where>,
    /// The plan.
    plan: PlanWord,
    /// What becomes of what was used: `carry` where it is left out.
    #[serde(default)]
    rule: RuleWord,
    /// Whether nothing is to be changed, only counted.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// Why.
    pub(crate) reason: PlainText,
}

/// Which users. Exactly one of the two is given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Where {
    /// Those to whom this plan was assigned.
    plan: Option<PlanWord>,
    /// True: every user that was ever charged or refused.
    #[serde(default)]
    everyone: bool,
}

/// How many users one request may name.
const USERS_MAX: usize = 10_000;

impl AssignMany {
    pub(crate) fn whom(&self, served: &Served) -> Result<Whom, Problem> {
        match (&self.users, &self.r#where) {
            (Some(_), Some(_)) => Err(Problem::field(
                "/where",
                "Give `users` or `where`, not both.",
            )),
            (None, None) => Err(Problem::field("/users", "Give `users` or `where`.")),
            (Some(users), None) if users.len() > USERS_MAX => {
                Err(Problem::field("/users", "It names more than 10000 users."))
            }
            (Some(users), None) => {
                let settings = served.settings();
                let users = users.iter().enumerate().map(|(place, id)| {
                    user(id, &settings)
                        .map_err(|detail| Problem::field(format!("/users/{place}"), detail))
                });
                users.collect::<Result<_, _>>().map(Whom::Users)
            }
            (None, Some(whom)) => match (&whom.plan, whom.everyone) {
                (Some(plan), false) => Ok(Whom::WithPlan(plan.0.clone())),
                (None, true) => Ok(Whom::Everyone),
                _ => Err(Problem::field(
                    "/where",
                    "Give `plan` or `everyone`, one of the two.",
                )),
            },
        }
    }

    pub(crate) fn change(&self) -> PlanChange {
        PlanChange {
            plan: self.plan.0.clone(),
            rule: self.rule.into(),
            at: ChangeAt::Now,
            anchor: None,
            timezone: None,
            starts_at: None,
            ends_at: None,
            then: None,
            status: Status::Active,
        }
    }
}
