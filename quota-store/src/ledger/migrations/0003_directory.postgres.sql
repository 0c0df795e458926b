-- The directory: what administrators said of users, tenants and plans. JSON is kept as text.

-- What is known of a user, or of a tenant as a whole, whose user is empty. Rows are emptied and
-- never removed, so that no generation goes back.
CREATE TABLE directory_entries (
    tenant TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    assignments TEXT COLLATE "C" NOT NULL,
    overrides TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, user_id)
);

-- The plans of the assignments above, each with the end of the last one: after it, nobody has it.
CREATE TABLE assigned_plans (
    plan TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (plan, tenant, user_id)
);
CREATE INDEX assigned_plans_by_subject ON assigned_plans (tenant, user_id);

-- The plans that the database keeps.
CREATE TABLE plans (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    body TEXT COLLATE "C" NOT NULL,
    changed_at BIGINT NOT NULL
);

-- One row about all of them; the default plan is empty for that of the file.
CREATE TABLE plan_set (
    generation BIGINT NOT NULL,
    default_plan TEXT COLLATE "C" NOT NULL
);
INSERT INTO plan_set (generation, default_plan) VALUES (0, '');

-- The generation that a change of the directory made, so that the same change is told again.
ALTER TABLE audits ADD COLUMN generation BIGINT;

-- What administrators' keys were used for; without a status it is under way.
CREATE TABLE idempotency_keys (
    actor TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT COLLATE "C" NOT NULL,
    begun_at BIGINT NOT NULL,
    status BIGINT,
    body TEXT COLLATE "C",
    PRIMARY KEY (actor, name)
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (begun_at);

-- For who used most: the windows that are open, of one quota and of all. `used` is in no index,
-- since each append changes it.
CREATE INDEX counters_by_quota ON counters (
    tenant, quota, window_kind, span_end, user_id, span_start
);
CREATE INDEX counters_by_tenant ON counters (
    tenant, span_end, user_id, quota, window_kind, span_start
);
