-- Since when each plan limits a quota in a window of a calendar. An instant of 0 means that it was
-- so before anybody knew of it; the empty text stands for whatever the default plan is.
CREATE TABLE windows_in_force (
    plan TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    quota TEXT COLLATE "C" NOT NULL,
    window_kind TEXT COLLATE "C" NOT NULL,
    calendar TEXT COLLATE "C" NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (plan, scope, quota, window_kind, calendar)
);
