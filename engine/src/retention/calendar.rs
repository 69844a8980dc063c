//! As much of the calendar as retention needs, for any time that a snapshot can claim: a library's calendar ends in
//! the year 9999, and a hostile snapshot must not be an error.

use super::policy::Span;
use crate::clock::Timestamp;

const DAY: i128 = 86_400;

/// A point in time as a wall clock shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct WallClock {
    /// Since 1970-01-01 on that clock.
    days: i64,
    /// Since midnight.
    seconds: i64,
    nanoseconds: u32,
    utc_offset_seconds: i32,
}

/// A time before which a duration does not reach, exclusive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// Since 1970 in UTC; more bits than a snapshot's time, which may be the first that there is.
    seconds: i128,
    nanoseconds: u32,
}

impl Limit {
    /// Whether a point in time is after it.
    pub(super) fn is_before(self, time: Timestamp) -> bool {
        (i128::from(time.seconds), time.nanoseconds) > (self.seconds, self.nanoseconds)
    }
}

impl WallClock {
    pub(super) fn new(time: Timestamp, utc_offset_seconds: i32) -> Self {
        let seconds = i128::from(time.seconds) + i128::from(utc_offset_seconds);
        let (days, seconds) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        // 2⁶⁴ seconds are 2⁴⁸ days.
        let (days, seconds) = (days as i64, seconds as i64);
        Self { days, seconds, nanoseconds: time.nanoseconds, utc_offset_seconds }
    }

    /// Numbers hours.
    pub(super) fn hour(self) -> i64 {
        self.days * 24 + self.seconds / 3600
    }

    /// Numbers days.
    pub(super) fn day(self) -> i64 {
        self.days
    }

    /// Numbers weeks, which begin on Mondays: 1970-01-01 was a Thursday. ISO 8601 gives no two of them the same name.
    pub(super) fn week(self) -> i64 {
        (self.days + 3).div_euclid(7)
    }

    /// Numbers months.
    pub(super) fn month(self) -> i64 {
        let (year, month, _) = date(self.days);
        year * 12 + month
    }

    /// Numbers years.
    pub(super) fn year(self) -> i64 {
        date(self.days).0
    }

    /// The time that is `span` earlier: years, months and days on the calendar, hours by the clock.
    pub(super) fn before(self, span: Span) -> Limit {
        let (year, month, day) = date(self.days);
        let months = year * 12 + month - i64::from(span.years) * 12 - i64::from(span.months);
        let first = first_day(months.div_euclid(12), months.rem_euclid(12));
        let days = first + day - i64::from(span.days);
        let seconds = i128::from(days) * DAY + i128::from(self.seconds) - i128::from(self.utc_offset_seconds);
        Limit { seconds: seconds - i128::from(span.hours) * 3600, nanoseconds: self.nanoseconds }
    }
}

/// Days in 400 years, after which the calendar repeats itself.
const DAYS_OF_CYCLE: i64 = 146_097;

/// Year, month and day of the month, both from 0, of the Gregorian calendar without beginning or end.
fn date(days: i64) -> (i64, i64, i64) {
    let cycle = days.div_euclid(DAYS_OF_CYCLE);
    let rest = days.rem_euclid(DAYS_OF_CYCLE);
    // Near enough, and never too late: a year has 366 days at most.
    let mut year = rest / 366;
    while first_day_of_year(1970 + year + 1) <= rest {
        year += 1;
    }
    let year = 1970 + year;
    let mut month = 0;
    while month < 11 && first_day(year, month + 1) <= rest {
        month += 1;
    }
    (year + cycle * 400, month, rest - first_day(year, month))
}

/// Days from 1970-01-01 to the first day of a month, which counts from 0.
fn first_day(year: i64, month: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let leap_day = i64::from(leap && month > 1);
    first_day_of_year(year) + BEFORE[month as usize] + leap_day
}

fn first_day_of_year(year: i64) -> i64 {
    let before = year - 1;
    let leap_days = before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
    // 477 leap days lie before 1970.
    (year - 1970) * 365 + leap_days - 477
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the calendar of another program, a day at a time.
    #[test]
    fn dates_are_those_of_jiff() {
        let mut civil = jiff::civil::date(-4799, 1, 1);
        let mut days = jiff::civil::date(1970, 1, 1).until(civil).expect("in range").get_days().into();
        for _ in 0..15_000 {
            let expected = (i64::from(civil.year()), i64::from(civil.month()) - 1, i64::from(civil.day()) - 1);
            assert_eq!(date(days), expected, "{days}");
            assert_eq!(first_day(expected.0, expected.1) + expected.2, days);
            // No whole number of weeks, months or years.
            civil = civil.checked_add(jiff::Span::new().days(337)).expect("in range");
            days += 337;
        }
        assert!(civil.year() > 9000);
    }

    #[test]
    fn the_ends_of_time_have_dates() {
        for seconds in [i64::MIN, i64::MAX] {
            for offset in [i32::MIN, 0, i32::MAX] {
                let clock = WallClock::new(Timestamp::new(seconds, 0), offset);
                assert_eq!(clock.month().div_euclid(12), clock.year());
                let all = Span { years: u32::MAX, months: u32::MAX, days: u32::MAX, hours: u32::MAX };
                assert!(clock.before(all).is_before(Timestamp::new(seconds, 0)));
                assert!(!clock.before(Span::default()).is_before(Timestamp::new(seconds, 0)));
            }
        }
    }
}
