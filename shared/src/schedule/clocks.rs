//! How the clocks of a time zone go.

use std::iter::from_fn;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// A time during which a zone's clocks go evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// When it begins.
    pub start: Timestamp,
    /// How far the clocks were ahead of UTC before that.
    pub before: Offset,
    /// How far they are ahead from then on.
    pub offset: Offset,
    /// When it ends: with the next change of the clocks.
    pub end: Timestamp,
}

/// The time from `from` to `end`, cut where the zone's clocks change.
pub fn stretches(zone: &TimeZone, from: Timestamp, end: Timestamp) -> impl Iterator<Item = Stretch> {
    let changes = zone.following(from).map(|change| (change.timestamp(), change.offset()));
    let mut changes = changes.take_while(move |(at, _)| *at < end);
    let offset = zone.to_offset(from);
    let mut next = Some((from, offset, offset));
    from_fn(move || {
        let (start, before, offset) = next.take()?;
        let change = changes.next();
        next = change.map(|(at, after)| (at, offset, after));
        Some(Stretch { start, before, offset, end: change.map_or(end, |(at, _)| at) })
    })
}

#[cfg(test)]
mod tests {
    use jiff::tz::{TimeZoneDatabase, offset};

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    fn of(zone: &str, from: &str, end: &str) -> Vec<Stretch> {
        let zone = TimeZoneDatabase::bundled().get(zone).expect(zone);
        stretches(&zone, time(from), time(end)).collect()
    }

    #[test]
    fn a_time_is_cut_where_the_clocks_change() {
        let [from, spring, autumn, end] =
            ["2027-01-01T00:00:00Z", "2027-03-28T01:00:00Z", "2027-10-31T01:00:00Z", "2028-01-01T00:00:00Z"];
        let stretch = |start, before, now, end| Stretch {
            start: time(start),
            before: offset(before),
            offset: offset(now),
            end: time(end),
        };
        let year = [stretch(from, 1, 1, spring), stretch(spring, 1, 2, autumn), stretch(autumn, 2, 1, end)];
        assert_eq!(of("Europe/Berlin", from, end), year);
        assert_eq!(of("Europe/Berlin", from, spring), year[..1], "the end is not in it");
        assert_eq!(
            of("Europe/Berlin", spring, autumn),
            [stretch(spring, 2, 2, autumn)],
            "nor is a change at its start"
        );
        assert_eq!(of("UTC", from, end), [stretch(from, 0, 0, end)]);
    }
}
