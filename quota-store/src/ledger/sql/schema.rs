//! The tables that rows go into in bulk; `migrations/` says what is in them.

use super::{
    Kind::{Id, Integer, Json, Text},
    Table,
};

pub(super) static ATTEMPTS: Table = Table {
    name: "attempts",
    columns: &[
        ("id", Id),
        ("outcome", Text),
        ("at", Integer),
        ("tenant", Text),
        ("user_id", Text),
        ("plan", Text),
        ("plan_source", Text),
        ("rule", Text),
        ("charges", Json),
        ("status", Integer),
        ("cause", Text),
        ("latency_us", Integer),
        ("tags", Json),
        ("metadata", Json),
        ("request_id", Text),
        ("client_ip", Text),
        ("user_agent", Text),
        ("revision", Text),
        ("denial", Json),
        ("attempts", Integer),
    ],
    key: 2,
    sums: &[],
};

pub(super) static LABELS: Table = Table {
    name: "attempt_labels",
    columns: &[
        ("tenant", Text),
        ("label", Text),
        ("value", Text),
        ("at", Integer),
        ("id", Id),
        ("outcome", Text),
    ],
    key: 6,
    sums: &[],
};

/// Rows are found and deleted by the record, which the key begins with.
pub(super) static ROLLED_UP: Table = Table {
    name: "rolled_up_attempts",
    columns: &[("record", Id), ("attempt", Id)],
    key: 1,
    sums: &[],
};

pub(super) static POSTINGS: Table = Table {
    name: "postings",
    columns: &[
        ("reservation", Id),
        ("kind", Text),
        ("at", Integer),
        ("tenant", Text),
        ("user_id", Text),
        ("entries", Json),
    ],
    key: 2,
    sums: &[],
};

pub(super) static COUNTERS: Table = Table {
    name: "counters",
    columns: &[
        ("tenant", Text),
        ("user_id", Text),
        ("quota", Text),
        ("window_kind", Text),
        ("span_start", Integer),
        ("span_end", Integer),
        ("partition_number", Integer),
        ("opening", Integer),
        ("used", Integer),
    ],
    key: 6,
    sums: &["opening", "used"],
};

pub(super) static HOURS: Table = Table {
    name: "usage_hours",
    columns: &[
        ("tenant", Text),
        ("quota", Text),
        ("hour", Integer),
        ("plan", Text),
        ("rule", Text),
        ("outcome", Text),
        ("attempts", Integer),
        ("charged", Integer),
    ],
    key: 6,
    sums: &["attempts", "charged"],
};

pub(super) static DAYS: Table = Table {
    name: "usage_days",
    columns: &[
        ("tenant", Text),
        ("quota", Text),
        ("day", Integer),
        ("plan", Text),
        ("rule", Text),
        ("outcome", Text),
        ("attempts", Integer),
        ("charged", Integer),
    ],
    key: 6,
    sums: &["attempts", "charged"],
};

pub(super) static TAGS: Table = Table {
    name: "usage_tags",
    columns: &[
        ("tenant", Text),
        ("quota", Text),
        ("tag", Text),
        ("hour", Integer),
        ("value", Text),
        ("outcome", Text),
        ("attempts", Integer),
        ("charged", Integer),
    ],
    key: 6,
    sums: &["attempts", "charged"],
};

pub(super) static TAG_DAYS: Table = Table {
    name: "usage_tag_days",
    columns: &[
        ("tenant", Text),
        ("quota", Text),
        ("tag", Text),
        ("day", Integer),
        ("value", Text),
        ("outcome", Text),
        ("attempts", Integer),
        ("charged", Integer),
    ],
    key: 6,
    sums: &["attempts", "charged"],
};

pub(super) static USERS: Table = Table {
    name: "usage_users",
    columns: &[
        ("tenant", Text),
        ("user_id", Text),
        ("quota", Text),
        ("day", Integer),
        ("attempts", Integer),
        ("denied", Integer),
        ("charged", Integer),
    ],
    key: 4,
    sums: &["attempts", "denied", "charged"],
};

pub(super) static SIZES: Table = Table {
    name: "usage_sizes",
    columns: &[
        ("tenant", Text),
        ("quota", Text),
        ("day", Integer),
        ("size", Integer),
        ("attempts", Integer),
    ],
    key: 4,
    sums: &["attempts"],
};

pub(super) static AUDITS: Table = Table {
    name: "audits",
    columns: &[
        ("id", Id),
        ("at", Integer),
        ("actor", Text),
        ("tenant", Text),
        ("target_kind", Text),
        ("target", Text),
        ("action", Text),
        ("state_before", Json),
        ("state_after", Json),
        ("reason", Text),
        ("idempotency_key", Text),
    ],
    key: 1,
    sums: &[],
};

/// Audits with the generation that each made.
pub(super) static CHANGES: Table = Table {
    name: "audits",
    columns: &[
        ("id", Id),
        ("at", Integer),
        ("actor", Text),
        ("tenant", Text),
        ("target_kind", Text),
        ("target", Text),
        ("action", Text),
        ("state_before", Json),
        ("state_after", Json),
        ("reason", Text),
        ("idempotency_key", Text),
        ("generation", Integer),
    ],
    key: 1,
    sums: &[],
};

pub(super) static ASSIGNED_PLANS: Table = Table {
    name: "assigned_plans",
    columns: &[
        ("plan", Text),
        ("tenant", Text),
        ("user_id", Text),
        ("ends_at", Integer),
    ],
    key: 3,
    sums: &[],
};

pub(super) static WINDOWS_IN_FORCE: Table = Table {
    name: "windows_in_force",
    columns: &[
        ("plan", Text),
        ("scope", Text),
        ("quota", Text),
        ("window_kind", Text),
        ("calendar", Text),
        ("since", Integer),
    ],
    key: 5,
    sums: &[],
};
