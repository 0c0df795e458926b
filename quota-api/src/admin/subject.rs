//! Changes of one user or tenant.

use quota_store::Subject;

use super::bodies::{Adjust, Assign, Reset, SetUsed};
use crate::{
    api::Served,
    problem::Problem,
    view::{ChangeView, ChangesView, CounterStatus, SubjectView},
    write::{Done, Write, Written},
};

/// Sets what was used to zero.
pub(super) async fn reset(subject: Subject, write: Write<Reset>) -> Written {
    let Write { intent, body } = write;
    let Reset {
        quota,
        window,
        reason,
    } = body;
    let act = async move |served: Served, doing| {
        let quota = quota.map(|quota| quota.0);
        let window = window.map(|window| window.0.0);
        let administration = served.administration();
        let done = administration.reset(&subject, quota.as_ref(), window, &doing);
        let changes = done.await.map_err(Problem::in_body)?;
        Ok(Done::ok(&ChangesView::from(changes)))
    };
    intent.perform(reason, act).await
}

/// Sets another limit.
pub(super) async fn adjust(subject: Subject, write: Write<Adjust>) -> Written {
    let Write { intent, body } = write;
    let adjustment = body.adjustment()?;
    let act = async move |served: Served, doing| {
        let administration = served.administration();
        let done = administration.adjust(&subject, &adjustment, &doing).await;
        let status = done.map_err(Problem::in_body_at("/window"))?;
        Ok(Done::ok(&CounterStatus::from(status)))
    };
    intent.perform(body.reason, act).await
}

/// Sets what was used.
pub(super) async fn set_used(subject: Subject, write: Write<SetUsed>) -> Written {
    let Write { intent, body } = write;
    let SetUsed {
        quota,
        window,
        used,
        reason,
    } = body;
    let act = async move |served: Served, doing| {
        let administration = served.administration();
        let done = administration.set_used(&subject, &quota.0, window.0.0, used.0, &doing);
        let change = done.await.map_err(Problem::in_body)?;
        Ok(Done::ok(&ChangeView::from(change)))
    };
    intent.perform(reason, act).await
}

/// Gives another plan.
pub(super) async fn assign(subject: Subject, write: Write<Assign>) -> Written {
    let Write { intent, body } = write;
    let change = body.change();
    let act = async move |served: Served, doing| {
        let administration = served.administration();
        let done = administration.assign(&subject, &change, &doing).await;
        let standing = done.map_err(Problem::in_body)?;
        let settings = served.settings();
        let language = settings.locales.first().map_or("en", String::as_str);
        let (tenant, user) = match &subject {
            Subject::User { tenant, user } => (tenant.as_ref(), Some(user)),
            Subject::Tenant(tenant) => (Some(tenant), None),
        };
        Ok(Done::ok(&SubjectView::new(
            tenant, user, standing, language,
        )))
    };
    intent.perform(body.reason, act).await
}
