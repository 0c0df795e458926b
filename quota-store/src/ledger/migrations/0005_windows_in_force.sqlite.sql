-- Since when each plan limits a quota in a window of a calendar. An instant of 0 means that it was
-- so before anybody knew of it; the empty text stands for whatever the default plan is.
CREATE TABLE windows_in_force (
    plan TEXT NOT NULL,
    scope TEXT NOT NULL,
    quota TEXT NOT NULL,
    window_kind TEXT NOT NULL,
    calendar TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (plan, scope, quota, window_kind, calendar)
) WITHOUT ROWID;
