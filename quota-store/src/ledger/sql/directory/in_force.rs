//! Since when plans limit quotas in windows.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Operation, Row, encode as columns, schema, text},
    LedgerError, Session, Statement,
};
use crate::{PlanName, UnixMillis, directory::WindowInForce};

/// The windows of all plans.
pub(super) struct PutInForce {
    pub(super) windows: Vec<WindowInForce>,
    pub(super) now: UnixMillis,
}

/// Plan, scope, quota, window and calendar, as the database has them.
type Key = [String; 5];

impl Operation for PutInForce {
    type Answer = Vec<UnixMillis>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Vec<UnixMillis>, LedgerError> {
        // Two processes that start at the same time make one of it.
        session.rewrite_alone().await?;
        let known = known(session).await?;
        let plans: BTreeSet<&str> = known.keys().map(|key| key[0].as_str()).collect();
        let keys: Vec<Key> = self.windows.iter().map(key).collect();
        let named: BTreeSet<&Key> = keys.iter().collect();
        let since = |key: &Key| match known.get(key) {
            Some(since) => *since,
            None if plans.contains(key[0].as_str()) => self.now,
            None => UnixMillis::new(0),
        };
        let gone = known.keys().filter(|key| !named.contains(key));
        let gone: Vec<Row<'_>> = gone.map(binds).collect();
        session.delete(&schema::WINDOWS_IN_FORCE, &gone).await?;
        let new = named.iter().filter(|key| !known.contains_key(**key));
        let new: Result<Vec<Row<'_>>, LedgerError> = new
            .map(|key| {
                let mut row = binds(key);
                row.push(columns::millis(since(key))?);
                Ok(row)
            })
            .collect();
        session.insert_new(&schema::WINDOWS_IN_FORCE, &new?).await?;
        Ok(keys.iter().map(since).collect())
    }
}

async fn known<S: Session>(session: &mut S) -> Result<BTreeMap<Key, UnixMillis>, LedgerError> {
    let statement = Statement::new(
        "SELECT plan, scope, quota, window_kind, calendar, since FROM windows_in_force",
        Vec::new(),
    );
    let rows = session.rows(&statement, |row| {
        let key = [
            row.text(0)?,
            row.text(1)?,
            row.text(2)?,
            row.text(3)?,
            text::read(row, 4)?,
        ];
        Ok((key, columns::at(row, 5)?))
    });
    Ok(rows.await?.into_iter().collect())
}

fn key(window: &WindowInForce) -> Key {
    let plan = window.plan.as_ref().map_or("", PlanName::as_str);
    [
        plan.to_owned(),
        window.scope.as_str().to_owned(),
        window.quota.as_str().to_owned(),
        window.window.to_string(),
        window.calendar.clone(),
    ]
}

fn binds(key: &Key) -> Row<'_> {
    key.iter().map(|part| text::bind(part)).collect()
}
