-- The ledger. Times are milliseconds since 1970-01-01 UTC; ids are UUIDs of 16 bytes; the empty
-- text stands for no tenant and no user, which no id is; JSON is kept as text.

-- The usage log: a row for each attempt and outcome.
CREATE TABLE attempts (
    id BLOB NOT NULL,
    outcome TEXT NOT NULL,
    at INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    user_id TEXT NOT NULL,
    plan TEXT,
    plan_source TEXT,
    rule TEXT,
    charges TEXT NOT NULL,
    status INTEGER,
    cause TEXT,
    latency_us INTEGER,
    tags TEXT NOT NULL,
    metadata TEXT NOT NULL,
    request_id TEXT,
    client_ip TEXT,
    user_agent TEXT,
    revision TEXT NOT NULL,
    denial TEXT,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (id, outcome)
) WITHOUT ROWID;
CREATE INDEX attempts_by_tenant ON attempts (tenant, at, id, outcome);
CREATE INDEX attempts_by_user ON attempts (tenant, user_id, at, id, outcome);
-- What is committed is most of them, and found by the time.
CREATE INDEX attempts_by_outcome ON attempts (tenant, outcome, at, id)
WHERE outcome <> 'committed';
CREATE INDEX attempts_by_rule ON attempts (tenant, rule, at, id, outcome);
-- For pruning.
CREATE INDEX attempts_by_time ON attempts (at);

-- What else attempts are found by: `quota`, and `tag.NAME`.
CREATE TABLE attempt_labels (
    tenant TEXT NOT NULL,
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    at INTEGER NOT NULL,
    id BLOB NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (tenant, label, value, at, id, outcome)
) WITHOUT ROWID;

-- What changed counters; the entries are a JSON list.
CREATE TABLE postings (
    reservation BLOB NOT NULL,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    user_id TEXT NOT NULL,
    entries TEXT NOT NULL,
    PRIMARY KEY (reservation, kind)
) WITHOUT ROWID;
-- For forgetting: a commit's attempt has the same id.
CREATE INDEX postings_by_subject ON postings (tenant, user_id)
WHERE kind <> 'commit';
CREATE INDEX postings_by_time ON postings (at);

-- The balance of each counter: `used` is `opening` and all postings that are left. The user is empty
-- for a counter of the tenant; a lifetime ends at the largest integer.
CREATE TABLE counters (
    tenant TEXT NOT NULL,
    user_id TEXT NOT NULL,
    quota TEXT NOT NULL,
    window_kind TEXT NOT NULL,
    span_start INTEGER NOT NULL,
    span_end INTEGER NOT NULL,
    partition_number INTEGER NOT NULL,
    opening INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (tenant, user_id, quota, window_kind, span_start, span_end)
) WITHOUT ROWID;
CREATE INDEX counters_by_partition ON counters (
    partition_number, span_end, tenant, user_id, quota, window_kind, span_start
);
CREATE INDEX counters_by_end ON counters (span_end);

-- Sums of attempts, kept in the transaction that appends them: a month has too many rows to add up.
-- By the hour, and by the day as well, which is what months are read from.
CREATE TABLE usage_hours (
    tenant TEXT NOT NULL,
    quota TEXT NOT NULL,
    hour INTEGER NOT NULL,
    plan TEXT NOT NULL,
    rule TEXT NOT NULL,
    outcome TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    charged INTEGER NOT NULL,
    PRIMARY KEY (tenant, quota, hour, plan, rule, outcome)
) WITHOUT ROWID;
CREATE INDEX usage_hours_by_time ON usage_hours (hour);

CREATE TABLE usage_days (
    tenant TEXT NOT NULL,
    quota TEXT NOT NULL,
    day INTEGER NOT NULL,
    plan TEXT NOT NULL,
    rule TEXT NOT NULL,
    outcome TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    charged INTEGER NOT NULL,
    PRIMARY KEY (tenant, quota, day, plan, rule, outcome)
) WITHOUT ROWID;
CREATE INDEX usage_days_by_time ON usage_days (day);

CREATE TABLE usage_tags (
    tenant TEXT NOT NULL,
    quota TEXT NOT NULL,
    tag TEXT NOT NULL,
    hour INTEGER NOT NULL,
    value TEXT NOT NULL,
    outcome TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    charged INTEGER NOT NULL,
    PRIMARY KEY (tenant, quota, tag, hour, value, outcome)
) WITHOUT ROWID;
CREATE INDEX usage_tags_by_time ON usage_tags (hour);

CREATE TABLE usage_tag_days (
    tenant TEXT NOT NULL,
    quota TEXT NOT NULL,
    tag TEXT NOT NULL,
    day INTEGER NOT NULL,
    value TEXT NOT NULL,
    outcome TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    charged INTEGER NOT NULL,
    PRIMARY KEY (tenant, quota, tag, day, value, outcome)
) WITHOUT ROWID;
CREATE INDEX usage_tag_days_by_time ON usage_tag_days (day);

CREATE TABLE usage_users (
    tenant TEXT NOT NULL,
    user_id TEXT NOT NULL,
    quota TEXT NOT NULL,
    day INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    denied INTEGER NOT NULL,
    charged INTEGER NOT NULL,
    PRIMARY KEY (tenant, user_id, quota, day)
) WITHOUT ROWID;
CREATE INDEX usage_users_by_quota ON usage_users (tenant, quota, day, user_id);
CREATE INDEX usage_users_by_time ON usage_users (day);

-- How many attempts were charged how much; sizes from 64 on are rounded down to 6 leading bits.
CREATE TABLE usage_sizes (
    tenant TEXT NOT NULL,
    quota TEXT NOT NULL,
    day INTEGER NOT NULL,
    size INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (tenant, quota, day, size)
) WITHOUT ROWID;
CREATE INDEX usage_sizes_by_time ON usage_sizes (day);

-- What administrators did.
CREATE TABLE audits (
    id BLOB NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    tenant TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target TEXT NOT NULL,
    action TEXT NOT NULL,
    state_before TEXT NOT NULL,
    state_after TEXT NOT NULL,
    reason TEXT NOT NULL,
    idempotency_key TEXT
) WITHOUT ROWID;
CREATE INDEX audits_by_tenant ON audits (tenant, at, id);
CREATE INDEX audits_by_target ON audits (tenant, target_kind, target, at, id);

-- How far the streams of the outbox were moved.
CREATE TABLE streams (
    stream TEXT NOT NULL PRIMARY KEY,
    millis INTEGER NOT NULL,
    sequence INTEGER NOT NULL
) WITHOUT ROWID;

-- What a ledger in use looks like: rows, and how many share each prefix of an index. Nothing here
-- runs ANALYZE, so the planner knows this from the first row on and never changes its mind.
ANALYZE;
DELETE FROM sqlite_stat1;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('attempts', 'attempts', '1000000 1 1'),
    ('attempts', 'attempts_by_tenant', '1000000 100000 5 1 1'),
    ('attempts', 'attempts_by_user', '1000000 100000 1000 1 1 1'),
    ('attempts', 'attempts_by_outcome', '1000000 100000 20000 1 1'),
    ('attempts', 'attempts_by_rule', '1000000 100000 20000 1 1 1'),
    ('attempts', 'attempts_by_time', '1000000 5'),
    ('attempt_labels', 'attempt_labels', '3000000 300000 100000 20000 1 1 1');
ANALYZE sqlite_schema;
