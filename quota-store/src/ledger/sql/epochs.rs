//! Which epoch the counters of each partition should have.

use super::{Bind, LedgerError, Operation, Session, Statement, unreadable};
use crate::Epoch;

/// All epochs that are known.
pub(super) struct Epochs;

impl Operation for Epochs {
    type Answer = Vec<(u8, Epoch)>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Self::Answer, LedgerError> {
        let statement = Statement::new(
            "SELECT partition_number, epoch FROM epochs ORDER BY partition_number",
            Vec::new(),
        );
        let epochs = session.rows(&statement, |row| {
            let partition = u8::try_from(row.count(0)?).map_err(unreadable)?;
            let epoch = u64::from_str_radix(&row.text(1)?, 16).map_err(unreadable)?;
            Ok((partition, Epoch(epoch)))
        });
        epochs.await
    }
}

/// Epochs that partitions get.
pub(super) struct SetEpochs(pub(super) Vec<(u8, Epoch)>);

impl Operation for SetEpochs {
    type Answer = ();

    async fn run<S: Session>(&self, session: &mut S) -> Result<(), LedgerError> {
        for (partition, epoch) in &self.0 {
            let statement = Statement::new(
                "INSERT INTO epochs (partition_number, epoch) VALUES (?1, ?2) \
                 ON CONFLICT (partition_number) DO UPDATE SET epoch = excluded.epoch",
                vec![
                    Bind::Integer((*partition).into()),
                    Bind::Text(format!("{:016x}", epoch.0).into()),
                ],
            );
            session.execute(&statement).await?;
        }
        Ok(())
    }
}
