//! Statements on one connection to SQLite.

use rusqlite::{
    Connection, Row as SqliteRow, ToSql, params_from_iter,
    types::{ToSqlOutput, Type, ValueRef},
};
use uuid::Uuid;

use super::LedgerError;
use crate::ledger::sql::{Bind, Fields, Kind, Row, Session, Statement, Table, unreadable};

/// One connection, maybe within a transaction. Nothing of it waits.
pub(super) struct SqliteSession<'a>(pub(super) &'a mut Connection);

impl Session for SqliteSession<'_> {
    async fn execute(&mut self, statement: &Statement<'_>) -> Result<u64, LedgerError> {
        let mut prepared = self.0.prepare_cached(&statement.sql)?;
        let changed = prepared.execute(params_from_iter(&statement.binds))?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    async fn rows<T: Send>(
        &mut self,
        statement: &Statement<'_>,
        read: fn(&dyn Fields) -> Result<T, LedgerError>,
    ) -> Result<Vec<T>, LedgerError> {
        let mut prepared = self.0.prepare_cached(&statement.sql)?;
        let mut found = prepared.query(params_from_iter(&statement.binds))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push(read(row)?);
        }
        Ok(rows)
    }

    async fn insert_new(
        &mut self,
        table: &'static Table,
        rows: &[Row<'_>],
    ) -> Result<Vec<bool>, LedgerError> {
        let sql = format!("{} ON CONFLICT DO NOTHING", insert(table));
        let mut prepared = self.0.prepare_cached(&sql)?;
        let inserted = rows.iter().map(|row| {
            let changed = prepared.execute(params_from_iter(row))?;
            Ok(changed == 1)
        });
        inserted.collect()
    }

    async fn insert_adding(
        &mut self,
        table: &'static Table,
        rows: &[Row<'_>],
    ) -> Result<(), LedgerError> {
        if rows.is_empty() {
            return Ok(());
        }
        let sql = insert(table) + &table.adding("min", "max");
        let mut prepared = self.0.prepare_cached(&sql)?;
        for row in rows {
            prepared.execute(params_from_iter(row))?;
        }
        Ok(())
    }

    async fn delete(&mut self, table: &'static Table, keys: &[Row<'_>]) -> Result<(), LedgerError> {
        let conditions: Vec<String> = (1..)
            .zip(table.key_columns())
            .map(|(place, (name, _)): (usize, _)| format!("{name} = ?{place}"))
            .collect();
        let sql = format!(
            "DELETE FROM {} WHERE {}",
            table.name,
            conditions.join(" AND ")
        );
        let mut prepared = self.0.prepare_cached(&sql)?;
        for key in keys {
            prepared.execute(params_from_iter(key))?;
        }
        Ok(())
    }

    async fn rows_by_key<T: Send>(
        &mut self,
        sql: &str,
        columns: &[(&'static str, Kind)],
        keys: &[Row<'_>],
        read: fn(&dyn Fields) -> Result<T, LedgerError>,
    ) -> Result<Vec<T>, LedgerError> {
        let names: Vec<String> = (1..)
            .zip(columns)
            .map(|(place, (name, _)): (usize, _)| format!("?{place} AS {name}"))
            .collect();
        let sql = sql.replace("{keys}", &format!("(SELECT {})", names.join(", ")));
        let mut prepared = self.0.prepare_cached(&sql)?;
        let mut rows = Vec::new();
        for key in keys {
            let mut found = prepared.query(params_from_iter(key))?;
            while let Some(row) = found.next()? {
                rows.push(read(row)?);
            }
        }
        Ok(rows)
    }

    async fn rewrite_alone(&mut self) -> Result<(), LedgerError> {
        // There is one writing transaction at a time.
        Ok(())
    }

    async fn size_bytes(&mut self) -> Result<u64, LedgerError> {
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        self.number(Statement::new(sql, Vec::new())).await
    }

    async fn count_about(&mut self, table: &'static Table) -> Result<u64, LedgerError> {
        let sql = format!("SELECT COUNT(*) FROM {}", table.name);
        self.number(Statement::new(sql, Vec::new())).await
    }
}

impl SqliteSession<'_> {
    async fn number(&mut self, statement: Statement<'_>) -> Result<u64, LedgerError> {
        let numbers = self.rows(&statement, |row| row.count(0)).await?;
        Ok(numbers.first().copied().unwrap_or_default())
    }
}

fn insert(table: &Table) -> String {
    let places: Vec<String> = (1..=table.columns.len())
        .map(|place| format!("?{place}"))
        .collect();
    format!(
        "INSERT INTO {} ({}) VALUES ({})",
        table.name,
        Table::names(table.columns),
        places.join(", ")
    )
}

impl ToSql for Bind<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Json(text) => ValueRef::Text(text.as_bytes()),
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Id(id) => ValueRef::Blob(id.as_bytes()),
            Self::Null => ValueRef::Null,
        }))
    }
}

impl Fields for SqliteRow<'_> {
    fn optional_text(&self, place: usize) -> Result<Option<String>, LedgerError> {
        match self.get_ref(place)? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(text) => Ok(Some(str::from_utf8(text).map_err(unreadable)?.to_owned())),
            other => Err(unexpected(place, other.data_type())),
        }
    }

    fn optional_integer(&self, place: usize) -> Result<Option<i64>, LedgerError> {
        match self.get_ref(place)? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => Ok(Some(number)),
            other => Err(unexpected(place, other.data_type())),
        }
    }

    fn id(&self, place: usize) -> Result<Uuid, LedgerError> {
        match self.get_ref(place)? {
            ValueRef::Blob(bytes) => Uuid::from_slice(bytes).map_err(unreadable),
            other => Err(unexpected(place, other.data_type())),
        }
    }
}

fn unexpected(place: usize, found: Type) -> LedgerError {
    unreadable(format!("column {place} holds {found}"))
}
