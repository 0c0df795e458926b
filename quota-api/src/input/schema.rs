//! How inputs are described.

use std::borrow::Cow;

use quota_store::{PlanName, QuotaName, Window, directory::Status, ledger::Outcome};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, SchemaType, Type},
    },
};

use super::{
    number::{Near, Size, Units},
    time::{LAST_SECOND, When},
    word::{Named, PlainText},
};
use crate::admin::{ExpiresField, LimitField};

/// A quota.
pub(crate) type QuotaWord = Named<QuotaName>;
/// A plan.
pub(crate) type PlanWord = Named<PlanName>;
/// A window.
pub(crate) type WindowWord = Named<WindowName>;
/// What became of an attempt.
pub(crate) type OutcomeWord = Named<OutcomeName>;
/// How a subscription stands.
pub(crate) type StatusWord = Named<StatusName>;

/// A window, of a stock too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowName(pub(crate) Window);

/// An outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutcomeName(pub(crate) Outcome);

/// How a subscription stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusName(pub(crate) Status);

impl std::str::FromStr for WindowName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "level" {
            return Err("`level` is of stocks only, and no quota is one".to_owned());
        }
        match text.parse() {
            Ok(window) => Ok(Self(window)),
            Err(error) => Err(quota_store::InvalidWindow::to_string(&error)),
        }
    }
}

/// Reads a word, and lists those that there are where it is none.
macro_rules! listed {
    ($($name:ident of $type:ty;)+) => {$(
        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                text.parse().map(Self).map_err(|_| {
                    let known: Vec<&str> = <$type>::ALL.iter().map(|one| one.as_str()).collect();
                    format!("it must be one of: {}", known.join(", "))
                })
            }
        }
    )+};
}

listed! {
    OutcomeName of Outcome;
    StatusName of Status;
}

/// Describes a type that is written as one text or number.
macro_rules! described {
    ($($type:ty as $name:literal => $schema:expr;)+) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let schema: ObjectBuilder = $schema;
                schema.into()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )+};
}

described! {
    QuotaWord as "QuotaName" => text("A quota.").pattern(Some(NAME)).max_length(Some(63)).examples(["messages"]);
    PlanWord as "PlanName" => text("A plan.").pattern(Some(NAME)).max_length(Some(63)).examples(["free"]);
    WindowWord as "Window" => text(
        "A window: second, minute, hour, day, week, month, year, lifetime, a duration, or `level` \
         for a stock.",
    )
    .pattern(Some(
        "^(second|minute|hour|day|week|month|year|lifetime|level|[1-9][0-9]{0,3}[smhd])$",
    ))
    .examples(["month"]);
    LimitField as "NewLimit" => ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::String, Type::Null]))
        .description(Some("The limit: a number, `unlimited`, or null for the plan's own again."))
        .minimum(Some(0))
        .maximum(Some(9_007_199_254_740_991_u64))
        .pattern(Some("^unlimited$"))
        .examples([20]);
    ExpiresField as "Expiry" => ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Integer, Type::Null]))
        .description(Some("A time, or `window-end` for the end of the present window."))
        .minimum(Some(0))
        .maximum(Some(LAST_SECOND))
        .pattern(Some("^(window-end|(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z)$"))
        .examples(["window-end"]);
    OutcomeWord as "Outcome" => words("What became of an attempt.", Outcome::ALL.iter().map(|one| one.as_str()));
    StatusWord as "SubscriptionStatus" => words(
        "How a subscription stands; it changes no limit.",
        Status::ALL.iter().map(|one| one.as_str()),
    );
    When as "Time" => ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Integer]))
        .description(Some("A time in RFC 3339, or Unix seconds."))
        .minimum(Some(0))
        .maximum(Some(LAST_SECOND))
        .pattern(Some(
            "^([0-9]{1,11}|(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T\
             ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?Z)$",
        ))
        .examples(["2026-01-31T12:00:00Z"]);
    PlainText as "Text" => text("A text of people, without control characters, not blank.")
        .min_length(Some(1))
        .max_length(Some(PlainText::BYTES_MAX))
        .pattern(Some("^[ -~]*[!-~][ -~]*$"))
        .examples(["asked for on the phone"]);
    Size as "PageSize" => number("How many rows at most.", 1, 1000).default(Some(50.into()));
    Near as "Percent" => number("A part of a limit, in hundredths.", 0, 1000).examples([80]);
    Units as "Amount" => number("An amount.", 0, 9_007_199_254_740_991);
}

const NAME: &str = "^[a-z]([a-z0-9]|_[a-z0-9]){0,30}$";

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
}

fn words(description: &str, words: impl Iterator<Item = &'static str>) -> ObjectBuilder {
    text(description).enum_values(Some(words))
}

fn number(description: &str, minimum: u64, maximum: u64) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some(description))
        .minimum(Some(minimum))
        .maximum(Some(maximum))
}
