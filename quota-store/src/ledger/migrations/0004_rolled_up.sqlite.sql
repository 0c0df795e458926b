-- The attempts that a record of one minute stands for, but the one whose id it has. Their postings
-- and whoever asks for one of them are found by it.
CREATE TABLE rolled_up_attempts (
    record BLOB NOT NULL,
    attempt BLOB NOT NULL,
    PRIMARY KEY (record, attempt)
) WITHOUT ROWID;
