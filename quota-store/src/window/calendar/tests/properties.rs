//! Every instant is in exactly one window, in every zone there is.

use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;

fn windows() -> impl Strategy<Value = Window> {
    prop_oneof![
        Just(Window::Second),
        Just(Window::Minute),
        Just(Window::Hour),
        Just(Window::Day),
        Just(Window::Week),
        Just(Window::Month),
        Just(Window::Year),
        Just(Window::Lifetime),
        (1..400_000_u64).prop_map(|seconds| Window::Seconds(NonZeroU64::new(seconds).unwrap())),
        any::<NonZeroU64>().prop_map(Window::Seconds),
    ]
}

fn zones() -> impl Strategy<Value = TimeZone> {
    let names: Vec<String> = TimeZoneDatabase::bundled()
        .available()
        .map(|name| name.to_string())
        .collect();
    assert!(names.len() > 400);
    proptest::sample::select(names).prop_map(|name| zone(&name))
}

/// From 1970 to the year 2100 or to the end of the calendar and beyond.
fn any_instants() -> impl Strategy<Value = UnixMillis> {
    prop_oneof![
        4 => 0..4_102_444_800_000_u64,
        1 => 0..254_000_000_000_000_u64,
        1 => any::<u64>(),
    ]
    .prop_map(UnixMillis::new)
}

fn anchors() -> impl Strategy<Value = Anchor> {
    prop_oneof![
        Just(Anchor::Calendar),
        any_instants().prop_map(Anchor::Subscription),
    ]
}

/// That far from the zone's first transition after some instant.
fn around_transition(zone: &TimeZone, from: UnixMillis, distance_ms: i64) -> UnixMillis {
    let transition = zone
        .following(timestamp(from))
        .next()
        .map_or(0, |transition| transition.timestamp().as_millisecond());
    UnixMillis::new(u64::try_from(transition + distance_ms).unwrap_or(0))
}

fn distances() -> impl Strategy<Value = i64> {
    prop_oneof![
        -2..=2_i64,
        -7_200_000..7_200_000_i64,
        -260_000_000..260_000_000_i64
    ]
}

#[track_caller]
fn check_partition(window: Window, now: UnixMillis, zone: &TimeZone, anchor: Anchor) {
    let span = window.span_at(now, zone, anchor);
    assert!(span.contains(now), "{window}: {now} is not in {span:?}");
    assert_eq!(window.span_at(span.start(), zone, anchor), span);
    if let Some(before) = span.start().get().checked_sub(1) {
        let before = window.span_at(UnixMillis::new(before), zone, anchor);
        assert_eq!(before.end(), Some(span.start()), "{window}");
    }
    if let Some(end) = span.end() {
        let last = UnixMillis::new(end.get() - 1);
        assert_eq!(window.span_at(last, zone, anchor), span);
        assert_eq!(window.span_at(end, zone, anchor).start(), end, "{window}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_instant_is_in_exactly_one_window(
        window in windows(), zone in zones(), now in any_instants(), anchor in anchors(),
    ) {
        check_partition(window, now, &zone, anchor);
    }

    #[test]
    fn every_instant_around_a_transition_is_in_exactly_one_window(
        window in windows(), zone in zones(), from in 0..4_102_444_800_000_u64,
        distance in distances(), anchor in anchors(),
    ) {
        let now = around_transition(&zone, UnixMillis::new(from), distance);
        check_partition(window, now, &zone, anchor);
    }

    #[test]
    fn a_day_begins_when_the_local_date_changes(
        zone in zones(), from in 0..4_102_444_800_000_u64, distance in distances(),
    ) {
        let now = around_transition(&zone, UnixMillis::new(from), distance);
        let start = Window::Day.span_at(now, &zone, Anchor::Calendar).start();
        if start > UnixMillis::new(0) {
            let before = UnixMillis::new(start.get() - 1);
            let date = zone.to_datetime(timestamp(start)).date();
            prop_assert!(zone.to_datetime(timestamp(before)).date() < date);
        }
    }

    #[test]
    fn an_hour_is_never_longer_than_one(
        zone in zones(), from in 0..4_102_444_800_000_u64, distance in distances(),
    ) {
        let now = around_transition(&zone, UnixMillis::new(from), distance);
        let span = Window::Hour.span_at(now, &zone, Anchor::Calendar);
        prop_assert!(span.end().unwrap().saturating_since(span.start()).as_secs() <= 3600);
    }
}
