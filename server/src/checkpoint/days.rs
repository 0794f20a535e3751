//! Under which day rows are filed: the folder of the public file that they go into.
//!
//! A row belongs to the day of its time. Records whose times are made up could make a file each, and a manifest as long: so one
//! checkpoint, and one seal, have at most [`DAYS_MAX`] days of their own up to the next one, and [`FUTURE_DAYS_MAX`] after it, those with the
//! most rows. The rows of the others are filed under the day on which their checkpoint was made, as those are that have no time. Which
//! these are follows from what the manifest lists.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, NaiveTime};

use super::manifest::{SealIntent, TailEntry};
use crate::clock::{DAY_MICROS, Micros};

/// A year that is read from its beginning still has a file for each day.
pub const DAYS_MAX: usize = 400;

/// Rows are seldom of a day that has not come: beyond the next one, which clocks and zones account for, their times are most likely wrong.
pub const FUTURE_DAYS_MAX: usize = 8;

/// A day of the calendar, UTC, in days since the Unix epoch. Years 1 to 9999: its text has a fixed width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub i64);

impl Day {
    pub const EPOCH: Day = Day(0);
    /// 0001-01-01
    pub const FIRST: Day = Day(-719_162);
    /// 9999-12-31
    pub const LAST: Day = Day(2_932_896);

    /// `None` outside the years 1 to 9999.
    pub fn of(time: Micros) -> Option<Day> {
        let day = Day(time.div_euclid(DAY_MICROS));
        (Day::FIRST..=Day::LAST).contains(&day).then_some(day)
    }

    /// The day of rows without a time. `created_at`: of their checkpoint.
    pub fn of_checkpoint(created_at: Micros) -> Day {
        Day::of(created_at).unwrap_or(Day::EPOCH)
    }

    /// As [`Day::text`] writes it.
    pub fn parse(text: &str) -> Option<Day> {
        let date: NaiveDate = text.parse().ok()?;
        Day::of(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros())
    }

    /// `YYYY-MM-DD`
    pub fn text(self) -> String {
        let date = DateTime::from_timestamp_micros(self.0 * DAY_MICROS).unwrap_or(DateTime::UNIX_EPOCH);
        date.format("%Y-%m-%d").to_string()
    }
}

/// The days of one checkpoint's rows as its tail entry lists them. `rows`: by the day of their times. `fallback`: takes what is too much.
pub fn days_of_checkpoint(rows: BTreeMap<Day, u64>, fallback: Day) -> BTreeMap<Day, u64> {
    let kept = own_days(&rows, fallback);
    let mut filed = BTreeMap::new();
    for (day, rows) in rows {
        *filed.entry(if kept.contains(&day) { day } else { fallback }).or_default() += rows;
    }
    filed
}

/// The days that a seal of these tail entries makes files for, with their rows.
pub fn days_of_seal(entries: &[&TailEntry]) -> BTreeMap<Day, u64> {
    let listed = || entries.iter().flat_map(|entry| listed_days(entry).map(move |(day, rows)| (*entry, day, rows)));
    let mut days: BTreeMap<Day, u64> = BTreeMap::new();
    listed().for_each(|(_, day, rows)| *days.entry(day).or_default() += rows);
    let Some(newest) = entries.last() else { return days };
    let mut kept = own_days(&days, Day::of_checkpoint(newest.created_at));
    if kept.len() == days.len() {
        return days;
    }
    kept.extend(entries.iter().map(|entry| Day::of_checkpoint(entry.created_at)));
    let mut filed = BTreeMap::new();
    for (entry, day, rows) in listed() {
        let day = if kept.contains(&day) { day } else { Day::of_checkpoint(entry.created_at) };
        *filed.entry(day).or_default() += rows;
    }
    filed
}

fn listed_days(entry: &TailEntry) -> impl Iterator<Item = (Day, u64)> + '_ {
    entry.dates.iter().filter_map(|(date, rows)| Some((Day::parse(date)?, *rows)))
}

/// The days that have files of their own: those with the most rows, and of those with as many the nearest to `today`.
fn own_days(days: &BTreeMap<Day, u64>, today: Day) -> BTreeSet<Day> {
    let mut by_rows: Vec<(u64, Day)> = days.iter().map(|(day, rows)| (*rows, *day)).collect();
    by_rows.sort_by_key(|(rows, day)| (u64::MAX - rows, day.0.abs_diff(today.0), *day));
    let (future, others): (Vec<Day>, Vec<Day>) =
        by_rows.into_iter().map(|(_, day)| day).partition(|day| day.0 > today.0.saturating_add(1));
    others.into_iter().take(DAYS_MAX).chain(future.into_iter().take(FUTURE_DAYS_MAX)).collect()
}

/// Under which of its files a seal files the rows of a checkpoint.
#[derive(Debug)]
pub struct Filing<'a> {
    /// The dates of the files.
    dates: BTreeSet<&'a str>,
}

impl<'a> Filing<'a> {
    pub fn of(intent: &'a SealIntent) -> Self {
        Filing { dates: intent.files.iter().map(|file| file.event_date.as_str()).collect() }
    }

    /// The days of a tail entry that have files, ascending. Its other rows are filed under the day of its checkpoint.
    pub fn own_days(&self, entry: &TailEntry) -> Vec<Day> {
        let dates = entry.dates.keys().filter(|date| self.dates.contains(date.as_str()));
        dates.filter_map(|date| Day::parse(date)).collect()
    }

    /// How many rows of a tail entry go into the file of a date.
    pub fn rows(&self, entry: &TailEntry, date: &str) -> u64 {
        let own = entry.dates.get(date).copied().unwrap_or(0);
        if Day::of_checkpoint(entry.created_at).text() != date {
            return own;
        }
        let others = entry.dates.iter().filter(|(other, _)| *other != date && !self.dates.contains(other.as_str()));
        own + others.map(|(_, rows)| rows).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::IntentFile;
    use crate::checkpoint::manifest::tests::section;

    fn entry(checkpoint: u64, on: Day, days: &[(Day, u64)]) -> TailEntry {
        let dates = days_of_checkpoint(days.iter().copied().collect(), on);
        let dates = dates.into_iter().map(|(day, rows)| (day.text(), rows)).collect();
        TailEntry { checkpoint, created_at: on.0 * DAY_MICROS, section: section("tail"), dates }
    }

    fn seal(entries: &[TailEntry]) -> SealIntent {
        let days = days_of_seal(&entries.iter().collect::<Vec<_>>()).into_iter();
        let files = days.map(|(day, rows)| IntentFile { path: day.text(), event_date: day.text(), rows });
        let (files, watermarks) = (files.collect(), BTreeMap::new());
        SealIntent { seal: 1, from: 1, to: 9, date_column: None, files, watermarks }
    }

    #[test]
    fn a_year_has_a_file_for_each_day() {
        let year: Vec<(Day, u64)> = (0..366).map(|day| (Day(day), 1)).collect();
        let entry = entry(1, Day(20_000), &year);
        assert_eq!(entry.dates.len(), 366);
        assert_eq!(seal(&[entry]).files.len(), 366);
    }

    #[test]
    fn a_million_days_are_some_four_hundred_files_and_every_row_is_in_one_of_them() {
        let today = Day(20_000);
        // The days of each checkpoint are others, and one of them has rows that are many.
        let days = |from: i64| -> Vec<(Day, u64)> {
            (from..from + 200_000).map(|day| (Day(day), if day == from { 9 } else { 1 })).collect()
        };
        let entries: Vec<TailEntry> =
            (0..5).map(|at| entry(at as u64 + 1, Day(today.0 + at / 3), &days(-500_000 + at * 200_000))).collect();
        const MOST: usize = DAYS_MAX + FUTURE_DAYS_MAX;
        assert!(entries.iter().all(|entry| entry.dates.len() <= MOST + 1));
        let intent = seal(&entries);
        // The days of the checkpoints are two.
        assert!((MOST..=MOST + 2).contains(&intent.files.len()), "{}", intent.files.len());
        let future = intent.files.iter().filter(|file| Day::parse(&file.event_date) > Some(Day(today.0 + 2)));
        assert_eq!(future.count(), FUTURE_DAYS_MAX);
        assert_eq!(intent.files.iter().map(|file| file.rows).sum::<u64>(), 5 * 200_008);
        let filing = Filing::of(&intent);
        for file in &intent.files {
            let rows: u64 = entries.iter().map(|entry| filing.rows(entry, &file.event_date)).sum();
            assert_eq!(rows, file.rows, "{}", file.event_date);
        }
        // Those with the most rows have files of their own.
        assert!(intent.files.iter().any(|file| file.event_date == Day(-500_000).text() && file.rows == 9));
        let (own, all) = (filing.own_days(&entries[0]).len(), entries[0].dates.len());
        assert!(own < all, "{own} of {all}");
    }

    // As of records with made-up times that come one by one: each seal would have a file for each of them.
    #[test]
    fn of_days_that_have_not_come_few_have_files() {
        let today = Day(20_000);
        let days = |from: i64| -> Vec<(Day, u64)> { (from..from + 100).map(|day| (Day(day), 1)).collect() };
        let entry = entry(1, today, &[days(today.0 - 98), days(today.0 + 2)].concat());
        assert_eq!(entry.dates.len(), 100 + FUTURE_DAYS_MAX);
        // What has no file of its own is filed under today, beside what is of today.
        assert_eq!(entry.dates[&today.text()], 1 + 92);
        assert_eq!(seal(&[entry]).files.len(), 100 + FUTURE_DAYS_MAX);
    }

    #[test]
    fn a_seal_of_before_is_written_as_it_was_planned() {
        let entries = [entry(1, Day(3), &[(Day(1), 2), (Day(3), 1)]), entry(2, Day(3), &[(Day(1), 5)])];
        let intent = seal(&entries);
        let filing = Filing::of(&intent);
        let rows = |date: Day| entries.iter().map(|entry| filing.rows(entry, &date.text())).collect::<Vec<_>>();
        assert_eq!((rows(Day(1)), rows(Day(3))), (vec![2, 5], vec![1, 0]));
        assert_eq!(filing.own_days(&entries[0]), [Day(1), Day(3)]);
    }
}
