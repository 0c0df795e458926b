//! What SQLite and Postgres share: one schema, and every statement but those that open a database.
//!
//! A [`Session`] is one connection or transaction of either. Statements are written with `?1`, `?2`
//! for what is bound, which is everything that comes from outside.

use std::borrow::Cow;

use uuid::Uuid;

use super::{LedgerError, LedgerErrorKind};

mod append;
mod audits;
mod balances;
mod database;
pub(super) mod directory;
mod encode;
mod epochs;
mod forget;
pub(super) mod log;
pub(super) mod migrations;
pub(super) mod people;
mod prune;
mod roll_up;
mod schema;
pub(super) mod statistics;
mod summaries;
mod text;
mod usage;

#[cfg(test)]
pub(super) use self::append::Append;
pub(super) use self::database::{Database, Operation};

/// One connection or transaction.
pub(super) trait Session: Send {
    /// Runs a statement, and answers how many rows it changed.
    fn execute(
        &mut self,
        statement: &Statement<'_>,
    ) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// Runs a query, and reads its rows.
    fn rows<T: Send>(
        &mut self,
        statement: &Statement<'_>,
        read: fn(&dyn Fields) -> Result<T, LedgerError>,
    ) -> impl Future<Output = Result<Vec<T>, LedgerError>> + Send;

    /// Inserts the rows whose key is not there yet, and answers which these were. No key stands
    /// twice among them.
    fn insert_new(
        &mut self,
        table: &'static Table,
        rows: &[Row<'_>],
    ) -> impl Future<Output = Result<Vec<bool>, LedgerError>> + Send;

    /// Inserts rows, and adds their sums to those that are there. No key stands twice among them.
    fn insert_adding(
        &mut self,
        table: &'static Table,
        rows: &[Row<'_>],
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Runs a query for each key, and reads its rows. In the SQL `{keys}` stands for a table of the
    /// keys; it binds nothing else.
    fn rows_by_key<T: Send>(
        &mut self,
        sql: &str,
        columns: &[(&'static str, Kind)],
        keys: &[Row<'_>],
        read: fn(&dyn Fields) -> Result<T, LedgerError>,
    ) -> impl Future<Output = Result<Vec<T>, LedgerError>> + Send;

    /// Deletes the rows with these keys.
    fn delete(
        &mut self,
        table: &'static Table,
        keys: &[Row<'_>],
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Waits until nobody else rewrites records that are there, and keeps others from it until the
    /// transaction ends. Appending goes on.
    fn rewrite_alone(&mut self) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// How many bytes the database takes.
    fn size_bytes(&mut self) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// About how many rows a table has.
    fn count_about(
        &mut self,
        table: &'static Table,
    ) -> impl Future<Output = Result<u64, LedgerError>> + Send;
}

/// One value that is bound.
#[derive(Clone, Debug)]
pub(super) enum Bind<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    Id(Uuid),
    Json(String),
    Null,
}

impl Bind<'_> {
    /// The same value, which borrows nothing.
    pub(super) fn into_owned(self) -> Bind<'static> {
        match self {
            Self::Text(text) => Bind::Text(Cow::Owned(text.into_owned())),
            Self::Integer(number) => Bind::Integer(number),
            Self::Id(id) => Bind::Id(id),
            Self::Json(json) => Bind::Json(json),
            Self::Null => Bind::Null,
        }
    }
}

/// The values of one row, in the order of the table's columns.
pub(super) type Row<'a> = Vec<Bind<'a>>;

/// A statement with what is bound to it.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    pub(super) sql: Cow<'static, str>,
    pub(super) binds: Vec<Bind<'a>>,
}

impl<'a> Statement<'a> {
    pub(super) fn new(sql: impl Into<Cow<'static, str>>, binds: Vec<Bind<'a>>) -> Self {
        Self {
            sql: sql.into(),
            binds,
        }
    }

    /// Adds SQL.
    pub(super) fn push(&mut self, sql: &str) {
        self.sql.to_mut().push_str(sql);
    }

    /// Adds the place of a value, and binds it.
    pub(super) fn push_bind(&mut self, bind: Bind<'a>) {
        self.binds.push(bind);
        let place = format!("?{}", self.binds.len());
        self.push(&place);
    }

    /// Adds `SQL = ` and a value.
    pub(super) fn push_equal(&mut self, sql: &str, bind: Bind<'a>) {
        self.push(sql);
        self.push(" = ");
        self.push_bind(bind);
    }
}

/// The columns of a row that was read, by their place.
pub(super) trait Fields {
    fn optional_text(&self, place: usize) -> Result<Option<String>, LedgerError>;
    fn optional_integer(&self, place: usize) -> Result<Option<i64>, LedgerError>;
    fn id(&self, place: usize) -> Result<Uuid, LedgerError>;

    fn text(&self, place: usize) -> Result<String, LedgerError> {
        self.optional_text(place)?.ok_or_else(|| missing(place))
    }

    fn integer(&self, place: usize) -> Result<i64, LedgerError> {
        self.optional_integer(place)?.ok_or_else(|| missing(place))
    }

    /// A number that is never negative.
    fn count(&self, place: usize) -> Result<u64, LedgerError> {
        u64::try_from(self.integer(place)?).map_err(unreadable)
    }
}

fn missing(place: usize) -> LedgerError {
    unreadable(format!("column {place} is null"))
}

/// What is stored can't be read.
pub(super) fn unreadable(
    reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> LedgerError {
    LedgerError::new(LedgerErrorKind::Corrupt, reason)
}

/// What was asked can't be stored.
pub(super) fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LedgerError {
    LedgerError::new(LedgerErrorKind::Invalid, reason)
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Id,
    Json,
}

/// A table that rows are inserted into in bulk.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// All columns, those of the key first.
    pub(super) columns: &'static [(&'static str, Kind)],
    /// How many of them are the key.
    pub(super) key: usize,
    /// The columns that [`Session::insert_adding`] adds to.
    pub(super) sums: &'static [&'static str],
}

impl Table {
    /// The names of all columns, or of the key's, with commas.
    pub(super) fn names(columns: &[(&'static str, Kind)]) -> String {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    pub(super) fn key_columns(&self) -> &'static [(&'static str, Kind)] {
        &self.columns[..self.key]
    }

    /// `ON CONFLICT (...) DO UPDATE SET ...`. Sums stop at the largest amount on both sides, long
    /// before the integers of a database end.
    pub(super) fn adding(&self, least: &str, greatest: &str) -> String {
        let name = self.name;
        let sums: Vec<String> = self
            .sums
            .iter()
            .map(|sum| {
                format!(
                    "{sum} = {least}({greatest}({name}.{sum} + excluded.{sum}, -{MOST}), {MOST})"
                )
            })
            .collect();
        format!(
            " ON CONFLICT ({}) DO UPDATE SET {}",
            Self::names(self.key_columns()),
            sums.join(", ")
        )
    }
}

/// The largest amount, as the database has it.
const MOST: u64 = crate::Amount::MAX.get();
