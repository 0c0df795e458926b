-- The ledger. Times are milliseconds since 1970-01-01 UTC; the empty text stands for no
-- tenant and no user, which no id is. Text is compared by its bytes, as SQLite does.

-- The usage log: a row for each attempt and outcome.
CREATE TABLE attempts (
    id UUID NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    plan TEXT COLLATE "C",
    plan_source TEXT COLLATE "C",
    rule TEXT COLLATE "C",
    charges JSONB NOT NULL,
    status BIGINT,
    cause TEXT COLLATE "C",
    latency_us BIGINT,
    tags JSONB NOT NULL,
    metadata JSONB NOT NULL,
    request_id TEXT COLLATE "C",
    client_ip TEXT COLLATE "C",
    user_agent TEXT COLLATE "C",
    revision TEXT COLLATE "C" NOT NULL,
    denial JSONB,
    attempts BIGINT NOT NULL,
    PRIMARY KEY (id, outcome)
);
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
    tenant TEXT COLLATE "C" NOT NULL,
    label TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    id UUID NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, label, value, at, id, outcome)
);

-- What changed counters; the entries are a JSON list.
CREATE TABLE postings (
    reservation UUID NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    entries JSONB NOT NULL,
    PRIMARY KEY (reservation, kind)
);
-- For forgetting: a commit's attempt has the same id.
CREATE INDEX postings_by_subject ON postings (tenant, user_id)
WHERE kind <> 'commit';
CREATE INDEX postings_by_time ON postings (at);

-- The balance of each counter: `used` is `opening` and all postings that are left. The user is empty
-- for a counter of the tenant; a lifetime ends at the largest integer.
CREATE TABLE counters (
    tenant TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    quota TEXT COLLATE "C" NOT NULL,
    window_kind TEXT COLLATE "C" NOT NULL,
    span_start BIGINT NOT NULL,
    span_end BIGINT NOT NULL,
    partition_number BIGINT NOT NULL,
    opening BIGINT NOT NULL,
    used BIGINT NOT NULL,
    PRIMARY KEY (tenant, user_id, quota, window_kind, span_start, span_end)
);
CREATE INDEX counters_by_partition ON counters (
    partition_number, span_end, tenant, user_id, quota, window_kind, span_start
);
CREATE INDEX counters_by_end ON counters (span_end);

-- Sums of attempts, kept in the transaction that appends them: a month has too many rows to add up.
-- By the hour, and by the day as well, which is what months are read from.
CREATE TABLE usage_hours (
    tenant TEXT COLLATE "C" NOT NULL,
    quota TEXT COLLATE "C" NOT NULL,
    hour BIGINT NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    charged BIGINT NOT NULL,
    PRIMARY KEY (tenant, quota, hour, plan, rule, outcome)
);
CREATE INDEX usage_hours_by_time ON usage_hours (hour);

CREATE TABLE usage_days (
    tenant TEXT COLLATE "C" NOT NULL,
    quota TEXT COLLATE "C" NOT NULL,
    day BIGINT NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    charged BIGINT NOT NULL,
    PRIMARY KEY (tenant, quota, day, plan, rule, outcome)
);
CREATE INDEX usage_days_by_time ON usage_days (day);

CREATE TABLE usage_tags (
    tenant TEXT COLLATE "C" NOT NULL,
    quota TEXT COLLATE "C" NOT NULL,
    tag TEXT COLLATE "C" NOT NULL,
    hour BIGINT NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    charged BIGINT NOT NULL,
    PRIMARY KEY (tenant, quota, tag, hour, value, outcome)
);
CREATE INDEX usage_tags_by_time ON usage_tags (hour);

CREATE TABLE usage_tag_days (
    tenant TEXT COLLATE "C" NOT NULL,
    quota TEXT COLLATE "C" NOT NULL,
    tag TEXT COLLATE "C" NOT NULL,
    day BIGINT NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    charged BIGINT NOT NULL,
    PRIMARY KEY (tenant, quota, tag, day, value, outcome)
);
CREATE INDEX usage_tag_days_by_time ON usage_tag_days (day);

CREATE TABLE usage_users (
    tenant TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    quota TEXT COLLATE "C" NOT NULL,
    day BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    denied BIGINT NOT NULL,
    charged BIGINT NOT NULL,
    PRIMARY KEY (tenant, user_id, quota, day)
);
CREATE INDEX usage_users_by_quota ON usage_users (tenant, quota, day, user_id);
CREATE INDEX usage_users_by_time ON usage_users (day);

-- How many attempts were charged how much; sizes from 64 on are rounded down to 6 leading bits.
CREATE TABLE usage_sizes (
    tenant TEXT COLLATE "C" NOT NULL,
    quota TEXT COLLATE "C" NOT NULL,
    day BIGINT NOT NULL,
    size BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    PRIMARY KEY (tenant, quota, day, size)
);
CREATE INDEX usage_sizes_by_time ON usage_sizes (day);

-- What administrators did.
CREATE TABLE audits (
    id UUID NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    target_kind TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    state_before JSONB NOT NULL,
    state_after JSONB NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    idempotency_key TEXT COLLATE "C"
);
CREATE INDEX audits_by_tenant ON audits (tenant, at, id);
CREATE INDEX audits_by_target ON audits (tenant, target_kind, target, at, id);

-- How far the streams of the outbox were moved.
CREATE TABLE streams (
    stream TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    millis BIGINT NOT NULL,
    sequence BIGINT NOT NULL
);
