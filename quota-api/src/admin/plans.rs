//! Plans.

use axum::{Extension, Json, extract::State};
use http::{HeaderMap, StatusCode};
use quota_layer::administration::{AdminError, PutPlan};
use quota_store::PlanName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use crate::{
    access::Caller,
    api::Served,
    input::{InPath, Nothing, PlainText, PlanWord, Query},
    language,
    problem::Problem,
    view::AdminPlanView,
    write::{Answer, Done, Intent, Write, Written},
};

/// All plans.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AdminPlans {
    /// In the order that people are shown them.
    items: Vec<AdminPlanView>,
}

/// Every plan, of the file and of the database.
#[utoipa::path(get, path = "/plans", tag = "plans", operation_id = "list_all_plans",
    responses((status = 200, description = "Every plan.", body = AdminPlans)))]
pub(super) async fn list(
    State(served): State<Served>,
    Query(Nothing {}): Query<Nothing>,
    headers: HeaderMap,
) -> Answer<AdminPlans> {
    let settings = served.settings();
    let language = language::choose(&headers, &settings.locales);
    let plans = served.administration().plans();
    let items = plans.iter().map(|plan| AdminPlanView::new(plan, language));
    Ok(Json(AdminPlans {
        items: items.collect(),
    }))
}

/// One plan.
#[utoipa::path(get, path = "/plans/{plan}", tag = "plans", operation_id = "show_any_plan",
    params(("plan" = inline(PlanWord), Path, description = "The plan.")),
    responses((status = 200, description = "The plan.", body = AdminPlanView)))]
pub(super) async fn show(
    State(served): State<Served>,
    InPath(name): InPath<PlanName>,
    Query(Nothing {}): Query<Nothing>,
    headers: HeaderMap,
) -> Answer<AdminPlanView> {
    let settings = served.settings();
    let language = language::choose(&headers, &settings.locales);
    let plans = served.administration().plans();
    let plan = plans.iter().find(|view| view.plan.name == name);
    let plan = plan.ok_or_else(Problem::not_found)?;
    Ok(Json(AdminPlanView::new(plan, language)))
}

/// A plan as the configuration file writes it in `[plans.NAME]`, and why it is written.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what the administration reads")]
pub(crate) struct PlanBody {
    /// Its title, or titles by language.
    #[schema(value_type = Value, required = false, example = "Gold")]
    title: Value,
    /// What it is for, or texts by language.
    #[schema(value_type = Value, required = false)]
    description: Value,
    /// What it costs.
    #[schema(value_type = Object, required = false)]
    price: Value,
    /// Its place in lists.
    order: Option<i64>,
    /// Whether lists show it.
    visible: Option<bool>,
    /// Whether those can have it who do not have it yet.
    enabled: Option<bool>,
    /// The plan whose limits it takes over.
    extends: Option<String>,
    /// What it offers besides quotas.
    features: Option<Vec<String>>,
    /// From which parts of a limit on users are warned.
    warn_at: Option<Vec<String>>,
    /// How far beyond limits requests still pass.
    #[schema(example = "30%")]
    grace: Option<String>,
    /// The time zone whose calendar its windows follow.
    #[schema(example = "Africa/Douala")]
    timezone: Option<String>,
    /// `calendar` or `subscription`.
    anchor: Option<String>,
    /// `release` or `charge`: the units of a process that died.
    orphans: Option<String>,
    /// `deny` or `unlimited`: what a quota means that it does not name.
    unlisted: Option<String>,
    /// Limits by quota.
    #[schema(value_type = Object, required = false, example = json!({"messages": "20/day"}))]
    limits: Value,
    /// Limits of the tenant as a whole, by quota.
    #[schema(value_type = Object, required = false)]
    tenant_limits: Value,
    /// Rates by quota.
    #[schema(value_type = Object, required = false)]
    rates: Value,
    /// What to reserve, by quota.
    #[schema(value_type = Object, required = false)]
    reserve: Value,
    /// Why.
    reason: PlainText,
}

/// The same with the name of the new plan.
pub(crate) struct NewPlanBody;

impl PartialSchema for NewPlanBody {
    fn schema() -> RefOr<Schema> {
        let mut schema = PlanBody::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object
                .properties
                .insert("name".to_owned(), PlanWord::schema());
            object.required.push("name".to_owned());
        }
        schema
    }
}

impl ToSchema for NewPlanBody {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        PlanBody::schemas(schemas);
    }
}

/// Adds a plan to the database.
#[utoipa::path(post, path = "/plans", tag = "plans", operation_id = "create_plan",
    request_body = NewPlanBody,
    responses((status = 201, description = "The plan is there.", body = AdminPlanView)))]
pub(super) async fn create(
    Extension(caller): Extension<Caller>,
    Query(Nothing {}): Query<Nothing>,
    Write { intent, mut body }: Write<Map<String, Value>>,
) -> Written {
    caller.check_installation()?;
    let name = take(&mut body, "name")?;
    let PlanWord { 0: plan } = name;
    put(plan, PutPlan::Create, StatusCode::CREATED, intent, body).await
}

/// Puts another text in the place of a plan of the database.
#[utoipa::path(put, path = "/plans/{plan}", tag = "plans", operation_id = "replace_plan",
    params(("plan" = inline(PlanWord), Path, description = "The plan.")), request_body = PlanBody,
    responses((status = 200, description = "The plan as it is now.", body = AdminPlanView)))]
pub(super) async fn replace(
    Extension(caller): Extension<Caller>,
    InPath(plan): InPath<PlanName>,
    Query(Nothing {}): Query<Nothing>,
    Write { intent, body }: Write<Map<String, Value>>,
) -> Written {
    caller.check_installation()?;
    put(plan, PutPlan::Replace, StatusCode::OK, intent, body).await
}

async fn put(
    plan: PlanName,
    how: PutPlan,
    status: StatusCode,
    intent: Intent,
    mut body: Map<String, Value>,
) -> Written {
    let reason: PlainText = take(&mut body, "reason")?;
    check_text("", &Value::Object(body.clone()))?;
    let act = async move |served: Served, doing| {
        let administration = served.administration();
        let body = Value::Object(body);
        let done = administration.put_plan(&plan, &body, how, &doing).await;
        let view = done.map_err(Problem::in_body)?;
        Ok(Done::new(
            status,
            &AdminPlanView::new(&view, &first_language(&served)),
        ))
    };
    intent.perform(reason, act).await
}

/// A field of a body, out of it.
fn take<T: serde::de::DeserializeOwned>(
    body: &mut Map<String, Value>,
    name: &str,
) -> Result<T, Problem> {
    let pointer = format!("/{name}");
    let value = body
        .remove(name)
        .ok_or_else(|| Problem::field(pointer.clone(), "It is missing, and needed."))?;
    T::deserialize(value)
        .map_err(|error| Problem::field(pointer, format!("It can't be used: {error}.")))
}

/// No text in it holds a NUL, which databases do not keep.
fn check_text(pointer: &str, value: &Value) -> Result<(), Problem> {
    let check = |text: &str| {
        if text.contains('\0') {
            return Err(Problem::field(pointer, "It holds a NUL character."));
        }
        Ok(())
    };
    match value {
        Value::String(text) => check(text),
        Value::Array(items) => (0..).zip(items).try_for_each(|(place, item): (usize, _)| {
            check_text(&format!("{pointer}/{place}"), item)
        }),
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            check(name)?;
            check_text(&format!("{pointer}/{name}"), field)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// What becomes of those who have a plan that is removed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RemoveParameters {
    /// The plan that those get who have it.
    #[param(inline)]
    reassign_to: Option<PlanWord>,
    /// Why.
    #[param(inline)]
    reason: PlainText,
}

/// That a plan was removed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Removed {
    /// The plan that is gone.
    removed: String,
}

/// Removes a plan from the database.
#[utoipa::path(delete, path = "/plans/{plan}", tag = "plans", operation_id = "remove_plan",
    params(("plan" = inline(PlanWord), Path, description = "The plan."), RemoveParameters),
    responses((status = 200, description = "The plan is gone.", body = Removed)))]
pub(super) async fn remove(
    Extension(caller): Extension<Caller>,
    InPath(plan): InPath<PlanName>,
    Query(asked): Query<RemoveParameters>,
    intent: Intent,
) -> Written {
    caller.check_installation()?;
    let reassign_to = asked.reassign_to.map(|plan| plan.0);
    let act = async move |served: Served, doing| {
        let administration = served.administration();
        let done = administration.remove_plan(&plan, reassign_to.as_ref(), &doing);
        done.await.map_err(|error| match error {
            // Of those who have it, the first could not be given the other one.
            AdminError::Invalid { problem, .. } => Problem::parameter("reassign_to", problem),
            other => Problem::in_query(other),
        })?;
        let removed = plan.as_str().to_owned();
        Ok(Done::ok(&Removed { removed }))
    };
    intent.perform(asked.reason, act).await
}

/// Names the default plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DefaultPlan {
    /// The plan that those have who have no other; null for that of the configuration file again.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true)]
    plan: Option<PlanWord>,
    /// Why.
    reason: PlainText,
}

/// Names the default plan, or lets it be the file's again.
#[utoipa::path(put, path = "/default-plan", tag = "plans", operation_id = "set_default_plan",
    request_body = DefaultPlan,
    responses((status = 200, description = "The default plan.", body = AdminPlanView)))]
pub(super) async fn set_default(
    Extension(caller): Extension<Caller>,
    Query(Nothing {}): Query<Nothing>,
    Write { intent, body }: Write<DefaultPlan>,
) -> Written {
    caller.check_installation()?;
    let act = async move |served: Served, doing| {
        let administration = served.administration();
        let done = match &body.plan {
            Some(plan) => administration.set_default_plan(&plan.0, &doing).await,
            None => administration.restore_default_plan(&doing).await,
        };
        let view = done.map_err(Problem::in_body_at("/plan"))?;
        Ok(Done::ok(&AdminPlanView::new(
            &view,
            &first_language(&served),
        )))
    };
    intent.perform(body.reason, act).await
}

fn first_language(served: &Served) -> String {
    let locales = served.settings().locales;
    locales
        .into_iter()
        .next()
        .unwrap_or_else(|| "en".to_owned())
}
