//! What only Postgres can get wrong.
