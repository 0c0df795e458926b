use jiff::tz::TimeZoneDatabase;

use super::*;

mod properties;

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

fn instant(text: &str) -> UnixMillis {
    let timestamp: Timestamp = text.parse().unwrap();
    UnixMillis::new(u64::try_from(timestamp.as_millisecond()).unwrap())
}

fn shown(instant: UnixMillis) -> String {
    timestamp(instant).to_string()
}

/// `window` in `zone_name`; `anchor` is empty for the calendar, else an instant.
#[track_caller]
fn check_anchored((window, zone_name, anchor): (&str, &str, &str), now: &str, expected: &str) {
    let anchor = match anchor {
        "" => Anchor::Calendar,
        text => Anchor::Subscription(instant(text)),
    };
    let window: Window = window.parse().unwrap();
    let span = window.span_at(instant(now), &zone(zone_name), anchor);
    let end = span.end().map_or_else(|| "…".to_owned(), shown);
    let found = format!("{} {end}", shown(span.start()));
    assert_eq!(found, expected, "{window} of {now} in {zone_name}");
}

#[track_caller]
fn check(window: &str, zone_name: &str, now: &str, expected: &str) {
    check_anchored((window, zone_name, ""), now, expected);
}

#[test]
fn days_are_as_long_as_daylight_saving_makes_them() {
    let berlin = "Europe/Berlin";
    check(
        "day",
        berlin,
        "2026-03-29T12:00:00Z",
        "2026-03-28T23:00:00Z 2026-03-29T22:00:00Z",
    );
    check(
        "day",
        berlin,
        "2026-10-25T12:00:00Z",
        "2026-10-24T22:00:00Z 2026-10-25T23:00:00Z",
    );
    check(
        "day",
        "Africa/Douala",
        "2026-01-01T22:59:59.999Z",
        "2025-12-31T23:00:00Z 2026-01-01T23:00:00Z",
    );
    check(
        "day",
        "Asia/Kathmandu",
        "2026-01-01T18:15:00Z",
        "2026-01-01T18:15:00Z 2026-01-02T18:15:00Z",
    );
    // Put forward by half an hour at 02:00, so half an hour short.
    check(
        "day",
        "Australia/Lord_Howe",
        "2026-10-03T20:00:00Z",
        "2026-10-03T13:30:00Z 2026-10-04T13:00:00Z",
    );
    // Winter time is the negative one there.
    check(
        "day",
        "Europe/Dublin",
        "2026-03-29T12:00:00Z",
        "2026-03-29T00:00:00Z 2026-03-29T23:00:00Z",
    );
}

#[test]
fn a_day_whose_midnight_was_left_out_begins_with_the_jump() {
    // From 2018-11-03 24:00 to 01:00.
    check(
        "day",
        "America/Sao_Paulo",
        "2018-11-04T12:00:00Z",
        "2018-11-04T03:00:00Z 2018-11-05T02:00:00Z",
    );
    // From 2018-02-17 24:00 back to 23:00: the day before has 25 hours.
    check(
        "day",
        "America/Sao_Paulo",
        "2018-02-18T02:30:00Z",
        "2018-02-17T02:00:00Z 2018-02-18T03:00:00Z",
    );
}

#[test]
fn a_midnight_that_comes_twice_begins_the_day_once() {
    // From 2006-10-29 00:01 back to 2006-10-28 23:01.
    let day = "2006-10-29T02:30:00Z 2006-10-30T03:30:00Z";
    check("day", "America/St_Johns", "2006-10-29T02:30:30Z", day);
    check("day", "America/St_Johns", "2006-10-29T03:00:00Z", day);
    check("day", "America/St_Johns", "2006-10-29T04:00:00Z", day);
}

#[test]
fn a_day_that_a_zone_left_out_has_no_window() {
    let apia = "Pacific/Apia";
    check(
        "day",
        apia,
        "2011-12-30T09:59:59.999Z",
        "2011-12-29T10:00:00Z 2011-12-30T10:00:00Z",
    );
    check(
        "day",
        apia,
        "2011-12-30T10:00:00Z",
        "2011-12-30T10:00:00Z 2011-12-31T10:00:00Z",
    );
    check(
        "month",
        apia,
        "2011-12-30T10:00:00Z",
        "2011-12-01T10:00:00Z 2011-12-31T10:00:00Z",
    );
}

#[test]
fn weeks_months_and_years_follow_the_calendar_of_the_zone() {
    let berlin = "Europe/Berlin";
    check(
        "week",
        berlin,
        "2026-03-29T21:59:59.999Z",
        "2026-03-22T23:00:00Z 2026-03-29T22:00:00Z",
    );
    check(
        "month",
        berlin,
        "2026-03-31T22:00:00Z",
        "2026-03-31T22:00:00Z 2026-04-30T22:00:00Z",
    );
    check(
        "month",
        "UTC",
        "2028-02-29T12:00:00Z",
        "2028-02-01T00:00:00Z 2028-03-01T00:00:00Z",
    );
    check(
        "year",
        berlin,
        "2026-06-01T00:00:00Z",
        "2025-12-31T23:00:00Z 2026-12-31T23:00:00Z",
    );
    check(
        "week",
        "UTC",
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z 1970-01-05T00:00:00Z",
    );
    check(
        "lifetime",
        berlin,
        "2026-06-01T00:00:00Z",
        "1970-01-01T00:00:00Z …",
    );
}

#[test]
fn hours_are_those_of_the_local_clock() {
    check(
        "hour",
        "Asia/Kathmandu",
        "2026-01-01T00:20:00Z",
        "2026-01-01T00:15:00Z 2026-01-01T01:15:00Z",
    );
    // An hour that comes twice has two windows.
    let berlin = "Europe/Berlin";
    check(
        "hour",
        berlin,
        "2026-10-25T00:30:00Z",
        "2026-10-25T00:00:00Z 2026-10-25T01:00:00Z",
    );
    check(
        "hour",
        berlin,
        "2026-10-25T01:30:00Z",
        "2026-10-25T01:00:00Z 2026-10-25T02:00:00Z",
    );
    // From 02:00 back to 01:30: half an hour until the next full one.
    let lord_howe = "Australia/Lord_Howe";
    check(
        "hour",
        lord_howe,
        "2026-04-04T14:59:59Z",
        "2026-04-04T14:00:00Z 2026-04-04T15:00:00Z",
    );
    check(
        "hour",
        lord_howe,
        "2026-04-04T15:00:00Z",
        "2026-04-04T15:00:00Z 2026-04-04T15:30:00Z",
    );
    check(
        "hour",
        lord_howe,
        "2026-10-03T15:40:00Z",
        "2026-10-03T15:30:00Z 2026-10-03T16:00:00Z",
    );
    // Liberia stood 44 minutes and 30 seconds behind until 1972-01-07.
    check(
        "minute",
        "Africa/Monrovia",
        "1972-01-07T00:44:00Z",
        "1972-01-07T00:43:30Z 1972-01-07T00:44:30Z",
    );
    check(
        "minute",
        "Africa/Monrovia",
        "1972-01-07T00:44:30Z",
        "1972-01-07T00:44:30Z 1972-01-07T00:45:00Z",
    );
    check(
        "second",
        "Asia/Kathmandu",
        "2026-01-01T00:20:00.5Z",
        "2026-01-01T00:20:00Z 2026-01-01T00:20:01Z",
    );
}

#[test]
fn a_billing_day_gives_way_in_short_months_and_comes_back() {
    let from_31st = ("month", "UTC", "2026-01-31T15:30:00Z");
    check_anchored(
        from_31st,
        "2026-02-10T00:00:00Z",
        "2026-01-31T00:00:00Z 2026-02-28T00:00:00Z",
    );
    check_anchored(
        from_31st,
        "2026-02-28T00:00:00Z",
        "2026-02-28T00:00:00Z 2026-03-31T00:00:00Z",
    );
    check_anchored(
        from_31st,
        "2028-02-29T00:00:00Z",
        "2028-02-29T00:00:00Z 2028-03-31T00:00:00Z",
    );
    // Before the anchor too.
    check_anchored(
        from_31st,
        "2025-12-30T00:00:00Z",
        "2025-11-30T00:00:00Z 2025-12-31T00:00:00Z",
    );
    let from_leap_day = ("year", "UTC", "2024-02-29T08:00:00Z");
    check_anchored(
        from_leap_day,
        "2025-02-28T00:00:00Z",
        "2025-02-28T00:00:00Z 2026-02-28T00:00:00Z",
    );
    check_anchored(
        from_leap_day,
        "2028-02-28T23:59:59Z",
        "2027-02-28T00:00:00Z 2028-02-29T00:00:00Z",
    );
}

#[test]
fn the_billing_day_is_that_of_the_zone() {
    // 2026-01-15 00:30 in Berlin, a Thursday.
    let anchor = "2026-01-14T23:30:00Z";
    check_anchored(
        ("month", "Europe/Berlin", anchor),
        "2026-04-01T00:00:00Z",
        "2026-03-14T23:00:00Z 2026-04-14T22:00:00Z",
    );
    check_anchored(
        ("week", "Europe/Berlin", anchor),
        "2026-01-14T22:59:59Z",
        "2026-01-07T23:00:00Z 2026-01-14T23:00:00Z",
    );
    check_anchored(
        ("day", "Europe/Berlin", anchor),
        "2026-01-14T23:40:00Z",
        "2026-01-14T23:00:00Z 2026-01-15T23:00:00Z",
    );
}

#[test]
fn durations_are_counted_from_the_epoch_or_the_anchor() {
    let zone = "Asia/Kathmandu";
    check(
        "15m",
        zone,
        "2026-01-01T00:20:00Z",
        "2026-01-01T00:15:00Z 2026-01-01T00:30:00Z",
    );
    let anchored = ("3h", zone, "2026-01-01T00:00:01.500Z");
    check_anchored(
        anchored,
        "2026-01-01T03:00:01.500Z",
        "2026-01-01T03:00:01.5Z 2026-01-01T06:00:01.5Z",
    );
    check_anchored(
        anchored,
        "2026-01-01T00:00:00Z",
        "2025-12-31T21:00:01.5Z 2026-01-01T00:00:01.5Z",
    );
}

#[test]
fn where_the_calendar_ends_the_last_window_has_no_end() {
    for window in ["minute", "hour", "day", "week", "month", "year"] {
        let window: Window = window.parse().unwrap();
        let zone = zone("America/New_York");
        let anchor = Anchor::Subscription(UnixMillis::new(u64::MAX));
        for anchor in [Anchor::Calendar, anchor] {
            let span = window.span_at(UnixMillis::new(u64::MAX), &zone, anchor);
            assert_eq!(span.end(), None, "{window}");
            assert_eq!(window.span_at(span.start(), &zone, anchor), span);
        }
    }
}
