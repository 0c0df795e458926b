//! Statements on one connection to Postgres.

use std::{collections::HashSet, error::Error};

use bytes::BytesMut;
use deadpool_postgres::GenericClient;
use tokio_postgres::{
    Row as PostgresRow,
    types::{IsNull, ToSql, Type, to_sql_checked},
};
use uuid::Uuid;

use super::LedgerError;
use crate::ledger::sql::{Bind, Fields, Kind, Row, Session, Statement, Table, invalid, unreadable};

/// Whoever holds this in a database rewrites records: "roll" in bytes.
const REWRITE_LOCK: i64 = 0x72_6f_6c_6c;

/// One connection or transaction.
pub(super) struct PostgresSession<'a, C>(pub(super) &'a C);

impl<C: GenericClient + Sync> Session for PostgresSession<'_, C> {
    async fn execute(&mut self, statement: &Statement<'_>) -> Result<u64, LedgerError> {
        let prepared = self.0.prepare_cached(&places(&statement.sql)).await?;
        let binds = references(&statement.binds);
        Ok(self.0.execute(&prepared, &binds).await?)
    }

    async fn rows<T: Send>(
        &mut self,
        statement: &Statement<'_>,
        read: fn(&dyn Fields) -> Result<T, LedgerError>,
    ) -> Result<Vec<T>, LedgerError> {
        let prepared = self.0.prepare_cached(&places(&statement.sql)).await?;
        let binds = references(&statement.binds);
        let rows = self.0.query(&prepared, &binds).await?;
        rows.iter().map(|row| read(row)).collect()
    }

    /// Tells what was new by the id and the text that its key begins with; tables with another key
    /// are all new.
    async fn insert_new(
        &mut self,
        table: &'static Table,
        rows: &[Row<'_>],
    ) -> Result<Vec<bool>, LedgerError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let has_id = table.columns[0].1 == Kind::Id;
        let mut sql = format!("{} ON CONFLICT DO NOTHING", insert(table));
        if has_id {
            sql.push_str(" RETURNING ");
            sql.push_str(&Table::names(table.key_columns()));
        }
        let returned = self.in_bulk(&sql, table.columns, rows).await?;
        if !has_id {
            return Ok(vec![true; rows.len()]);
        }
        let inserted = returned
            .iter()
            .map(|row| {
                let word = if table.key > 1 {
                    row.text(1)?
                } else {
                    String::new()
                };
                Ok((row.id(0)?, word))
            })
            .collect::<Result<HashSet<_>, LedgerError>>()?;
        let is_new = rows.iter().map(|row| match (&row[0], &row[1]) {
            (Bind::Id(id), Bind::Text(word)) if table.key > 1 => {
                inserted.contains(&(*id, word.to_string()))
            }
            (Bind::Id(id), _) => inserted.contains(&(*id, String::new())),
            _ => false,
        });
        Ok(is_new.collect())
    }

    async fn insert_adding(
        &mut self,
        table: &'static Table,
        rows: &[Row<'_>],
    ) -> Result<(), LedgerError> {
        if rows.is_empty() {
            return Ok(());
        }
        let sql = insert(table) + &table.adding("LEAST", "GREATEST");
        self.in_bulk(&sql, table.columns, rows).await?;
        Ok(())
    }

    async fn delete(&mut self, table: &'static Table, keys: &[Row<'_>]) -> Result<(), LedgerError> {
        if keys.is_empty() {
            return Ok(());
        }
        let (name, key) = (table.name, table.key_columns());
        let names = Table::names(key);
        let sql = format!(
            "DELETE FROM {name} WHERE ({names}) IN (SELECT {names} FROM {})",
            unnest(key)
        );
        self.in_bulk(&sql, key, keys).await?;
        Ok(())
    }

    async fn rows_by_key<T: Send>(
        &mut self,
        sql: &str,
        columns: &[(&'static str, Kind)],
        keys: &[Row<'_>],
        read: fn(&dyn Fields) -> Result<T, LedgerError>,
    ) -> Result<Vec<T>, LedgerError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let table = format!("(SELECT * FROM {})", unnest(columns));
        let sql = sql.replace("{keys}", &table);
        let rows = self.in_bulk(&sql, columns, keys).await?;
        rows.iter().map(|row| read(row)).collect()
    }

    async fn rewrite_alone(&mut self) -> Result<(), LedgerError> {
        let sql = "SELECT pg_advisory_xact_lock(?1)";
        let lock = Statement::new(sql, vec![Bind::Integer(REWRITE_LOCK)]);
        self.execute(&lock).await.map(drop)
    }

    async fn size_bytes(&mut self) -> Result<u64, LedgerError> {
        let sql = "SELECT pg_database_size(current_database())";
        self.number(Statement::new(sql, Vec::new())).await
    }

    async fn count_about(&mut self, table: &'static Table) -> Result<u64, LedgerError> {
        // Counting a million rows takes longer than a health check may.
        let sql = format!(
            "SELECT GREATEST(reltuples, 0)::bigint FROM pg_class WHERE oid = '{}'::regclass",
            table.name
        );
        self.number(Statement::new(sql, Vec::new())).await
    }
}

impl<C: GenericClient + Sync> PostgresSession<'_, C> {
    async fn number(&mut self, statement: Statement<'_>) -> Result<u64, LedgerError> {
        let numbers = self.rows(&statement, |row| row.count(0)).await?;
        Ok(numbers.first().copied().unwrap_or_default())
    }

    /// Runs a statement over all rows at once, one array for each column.
    async fn in_bulk(
        &mut self,
        sql: &str,
        columns: &[(&'static str, Kind)],
        rows: &[Row<'_>],
    ) -> Result<Vec<PostgresRow>, LedgerError> {
        let prepared = self.0.prepare_cached(sql).await?;
        let arrays = columns
            .iter()
            .enumerate()
            .map(|(place, (_, kind))| array(*kind, place, rows))
            .collect::<Result<Vec<_>, LedgerError>>()?;
        let arrays: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| &**array as _).collect();
        Ok(self.0.query(&prepared, &arrays).await?)
    }
}

/// SQL as Postgres numbers its places.
fn places(sql: &str) -> String {
    sql.replace('?', "$")
}

fn references<'a>(binds: &'a [Bind<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    binds.iter().map(|bind| bind as _).collect()
}

fn insert(table: &Table) -> String {
    let values: Vec<String> = table
        .columns
        .iter()
        .map(|(name, kind)| match kind {
            Kind::Json => format!("{name}::jsonb"),
            _ => (*name).to_owned(),
        })
        .collect();
    format!(
        "INSERT INTO {} ({}) SELECT {} FROM {}",
        table.name,
        Table::names(table.columns),
        values.join(", "),
        unnest(table.columns)
    )
}

/// The arrays as rows, in their order.
fn unnest(columns: &[(&'static str, Kind)]) -> String {
    let arrays: Vec<String> = (1..)
        .zip(columns)
        .map(|(place, (_, kind)): (usize, _)| match kind {
            Kind::Text | Kind::Json => format!("${place}::text[]"),
            Kind::Integer => format!("${place}::bigint[]"),
            Kind::Id => format!("${place}::uuid[]"),
        })
        .collect();
    format!(
        "unnest({}) AS rows ({})",
        arrays.join(", "),
        Table::names(columns)
    )
}

type Array<'a> = Box<dyn ToSql + Sync + Send + 'a>;

fn array<'a>(kind: Kind, place: usize, rows: &'a [Row<'_>]) -> Result<Array<'a>, LedgerError> {
    let column = rows.iter().map(|row| &row[place]);
    let other = || invalid("a value is not of its column's kind");
    Ok(match kind {
        Kind::Text | Kind::Json => Box::new(
            column
                .map(|bind| match bind {
                    Bind::Text(text) => Ok(Some(&**text)),
                    Bind::Json(text) => Ok(Some(text.as_str())),
                    Bind::Null => Ok(None),
                    _ => Err(other()),
                })
                .collect::<Result<Vec<Option<&str>>, _>>()?,
        ),
        Kind::Integer => Box::new(
            column
                .map(|bind| match bind {
                    Bind::Integer(number) => Ok(Some(*number)),
                    Bind::Null => Ok(None),
                    _ => Err(other()),
                })
                .collect::<Result<Vec<Option<i64>>, _>>()?,
        ),
        Kind::Id => Box::new(
            column
                .map(|bind| match bind {
                    Bind::Id(id) => Ok(*id),
                    _ => Err(other()),
                })
                .collect::<Result<Vec<Uuid>, _>>()?,
        ),
    })
}

impl ToSql for Bind<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Text(text) => (&**text).to_sql(kind, out),
            Self::Json(text) => text.as_str().to_sql(kind, out),
            Self::Integer(number) => number.to_sql(kind, out),
            Self::Id(id) => id.to_sql(kind, out),
            Self::Null => Ok(IsNull::Yes),
        }
    }

    fn accepts(kind: &Type) -> bool {
        <&str>::accepts(kind) || <i64>::accepts(kind) || <Uuid>::accepts(kind)
    }

    to_sql_checked!();
}

impl Fields for PostgresRow {
    fn optional_text(&self, place: usize) -> Result<Option<String>, LedgerError> {
        self.try_get(place).map_err(unreadable)
    }

    fn optional_integer(&self, place: usize) -> Result<Option<i64>, LedgerError> {
        // A number that stands in the statement is a small one.
        if self.columns()[place].type_() == &Type::INT4 {
            let small: Option<i32> = self.try_get(place).map_err(unreadable)?;
            return Ok(small.map(i64::from));
        }
        self.try_get(place).map_err(unreadable)
    }

    fn id(&self, place: usize) -> Result<Uuid, LedgerError> {
        self.try_get(place).map_err(unreadable)
    }
}
