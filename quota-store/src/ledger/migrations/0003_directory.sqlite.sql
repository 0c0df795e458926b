-- The directory: what administrators said of users, tenants and plans. JSON is kept as text.

-- What is known of a user, or of a tenant as a whole, whose user is empty. Rows are emptied and
-- never removed, so that no generation goes back.
CREATE TABLE directory_entries (
    tenant TEXT NOT NULL,
    user_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    assignments TEXT NOT NULL,
    overrides TEXT NOT NULL,
    PRIMARY KEY (tenant, user_id)
) WITHOUT ROWID;

-- The plans of the assignments above, each with the end of the last one: after it, nobody has it.
CREATE TABLE assigned_plans (
    plan TEXT NOT NULL,
    tenant TEXT NOT NULL,
    user_id TEXT NOT NULL,
    ends_at INTEGER NOT NULL,
    PRIMARY KEY (plan, tenant, user_id)
) WITHOUT ROWID;
CREATE INDEX assigned_plans_by_subject ON assigned_plans (tenant, user_id);

-- The plans that the database keeps.
CREATE TABLE plans (
    name TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) WITHOUT ROWID;

-- One row about all of them; the default plan is empty for that of the file.
CREATE TABLE plan_set (
    generation INTEGER NOT NULL,
    default_plan TEXT NOT NULL
);
INSERT INTO plan_set (generation, default_plan) VALUES (0, '');

-- The generation that a change of the directory made, so that the same change is told again.
ALTER TABLE audits ADD COLUMN generation INTEGER;

-- What administrators' keys were used for; without a status it is under way.
CREATE TABLE idempotency_keys (
    actor TEXT NOT NULL,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    begun_at INTEGER NOT NULL,
    status INTEGER,
    body TEXT,
    PRIMARY KEY (actor, name)
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (begun_at);

-- For who used most: the windows that are open, of one quota and of all. `used` is in no index,
-- since each append changes it.
CREATE INDEX counters_by_quota ON counters (
    tenant, quota, window_kind, span_end, user_id, span_start
);
CREATE INDEX counters_by_tenant ON counters (
    tenant, span_end, user_id, quota, window_kind, span_start
);
