//! Random windows: their kind, how long they are and what they are counted from; as we write them, and as DuckDB computes them.

use super::super::choices::Choices;

/// Lengths in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    shape: Shape,
    /// The slide of HOP, the step of CUMULATE, the size of TUMBLE, the gap of SESSION.
    step_us: i64,
    size_us: i64,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// From 1970-01-01, UTC.
    Offset(i64),
    Midnight(&'static str),
}

const DAY_US: i64 = 86_400_000_000;

const TUMBLES: [i64; 6] = [10_000_000, 1_000_000, 2_000_000, 5_000_000, 60_000_000, 1_500_000];
const HOPS: [(i64, i64); 6] = [
    (5_000_000, 10_000_000),
    (1_000_000, 3_000_000),
    (10_000_000, 30_000_000),
    (3_000_000, 7_000_000),
    (4_000_000, 6_000_000),
    (10_000_000, 10_000_000),
];
const CUMULATES: [(i64, i64); 4] =
    [(5_000_000, 10_000_000), (4_000_000, 12_000_000), (1_000_000, 3_000_000), (10_000_000, 60_000_000)];
const SESSIONS: [i64; 6] = [3_000_000, 1_000_000, 10_000_000, 250_000, 5_000_000, 20_000_000];
const DAYS: [(i64, i64); 5] = [
    (DAY_US, DAY_US),
    (2 * DAY_US, 2 * DAY_US),
    (DAY_US, 7 * DAY_US),
    (7 * DAY_US, 7 * DAY_US),
    (2 * DAY_US, 6 * DAY_US),
];
const ZONE: &str = "Europe/Berlin";

impl Windows {
    /// `days`: they may be days of a time zone, since the rows reach over some.
    pub(super) fn draw(choices: &mut Choices, days: bool) -> Self {
        if days && choices.sometimes(8) {
            let (step_us, size_us) = choices.of(&DAYS);
            let shape = if step_us == size_us { Shape::Tumble } else { Shape::Cumulate };
            return Windows { shape, step_us, size_us, origin: Origin::Midnight(ZONE) };
        }
        let (shape, (step_us, size_us)) = match choices.below(16) {
            0..=6 => {
                let size = choices.of(&TUMBLES);
                (Shape::Tumble, (size, size))
            }
            7..=10 => (Shape::Hop, choices.of(&HOPS)),
            11 => (Shape::Cumulate, choices.of(&CUMULATES)),
            _ => {
                let gap = choices.of(&SESSIONS);
                (Shape::Session, (gap, gap))
            }
        };
        let offset = match shape != Shape::Session && choices.sometimes(2) {
            true => choices.of(&[size_us / 4, -size_us / 2, size_us - 1_000]),
            false => 0,
        };
        Windows { shape, step_us, size_us, origin: Origin::Offset(offset) }
    }

    /// Whether a row is in one window alone.
    pub(super) fn are_apart(&self) -> bool {
        matches!(self.shape, Shape::Tumble | Shape::Session)
    }

    /// Whether the rows themselves say where windows begin and end.
    pub(super) fn are_sessions(&self) -> bool {
        self.shape == Shape::Session
    }

    /// As a function of FROM.
    pub(super) fn name(&self) -> &'static str {
        match self.shape {
            Shape::Tumble => "TUMBLE",
            Shape::Hop => "HOP",
            Shape::Cumulate => "CUMULATE",
            Shape::Session => "SESSION",
        }
    }

    /// What stands behind the table and the time.
    pub(super) fn lengths(&self) -> String {
        let mut lengths = vec![interval(self.size_us)];
        if matches!(self.shape, Shape::Hop | Shape::Cumulate) {
            lengths.insert(0, interval(self.step_us));
        }
        match self.origin {
            Origin::Offset(0) => {}
            Origin::Offset(us) => lengths.push(interval(us)),
            Origin::Midnight(zone) => lengths.push(format!("'{zone}'")),
        }
        lengths.join(", ")
    }

    /// To group by.
    pub(super) fn call(&self, time: &str) -> String {
        format!("{}({time}, {})", self.name().to_lowercase(), self.lengths())
    }

    /// For DuckDB: the rows of `source`, each once for each window of its time; with the window's start, its end and its last tick as
    /// columns of these names. Rows without a time are in no window.
    pub(super) fn in_duckdb(&self, source: &str, time: &str, tick_us: i64, names: [&str; 3]) -> String {
        let (step, size) = (self.step_us, self.size_us);
        // The windows of a time are numbered: HOP's from the last one back, CUMULATE's from the first one on.
        let (start, end) = match (self.origin, self.shape) {
            (Origin::Offset(offset), Shape::Hop) => {
                let start = format!("({} - window_number * {step})", floor(&micros(time), step, offset));
                (start.clone(), format!("({start} + {size})"))
            }
            (Origin::Offset(offset), Shape::Tumble | Shape::Cumulate | Shape::Session) => {
                let start = floor(&micros(time), size, offset);
                (start.clone(), format!("({start} + (window_number + 1) * {step})"))
            }
            (Origin::Midnight(zone), _) => {
                // Clocks there as if they were UTC's, and back: midnight comes once on each day.
                let first = floor(&micros(&format!("timezone('{zone}', timezone('UTC', {time}))")), size, 0);
                let instant = |local: &str| micros(&format!("timezone('{zone}', make_timestamp({local}))"));
                (instant(&first), instant(&format!("{first} + (window_number + 1) * {step}")))
            }
        };
        let [start_name, end_name, last_name] = names;
        let count = size / step + i64::from(size % step != 0);
        format!(
            "(SELECT * EXCLUDE (window_number), make_timestamp({start}) AS {start_name}, make_timestamp({end}) AS {end_name}, \
             make_timestamp({end} - {tick_us}) AS {last_name} FROM {source} AS t, unnest(range({count})) AS numbers(window_number) \
             WHERE {time} IS NOT NULL AND {end} > {})",
            micros(time)
        )
    }
}

impl Windows {
    /// As [`Windows::in_duckdb`], of sessions by these columns.
    pub(super) fn sessions_in_duckdb(
        &self,
        source: &str,
        time: &str,
        tick_us: i64,
        names: [&str; 3],
        keys: &[String],
    ) -> String {
        let gap = self.size_us;
        let [start, end, last] = names;
        let by = if keys.is_empty() { String::new() } else { format!("PARTITION BY {} ", keys.join(", ")) };
        let each = keys.iter().map(String::as_str).chain(["session_number"]).collect::<Vec<_>>().join(", ");
        let bound =
            |which: &str, by: i64| format!("make_timestamp({which}(session_at) OVER (PARTITION BY {each}) + {by})");
        format!(
            "(SELECT * EXCLUDE (session_at, session_begins, session_number), {} AS {start}, {} AS {end}, {} AS {last} FROM \
             (SELECT *, count(*) FILTER (WHERE session_begins) OVER ({by}ORDER BY session_at) AS session_number FROM \
             (SELECT *, session_at - lag(session_at) OVER ({by}ORDER BY session_at) > {gap} AS session_begins FROM \
             (SELECT *, {} AS session_at FROM {source} AS t WHERE {time} IS NOT NULL) AS t) AS t) AS t)",
            bound("min", 0),
            bound("max", gap),
            bound("max", gap - tick_us),
            micros(time)
        )
    }
}

fn interval(us: i64) -> String {
    if us % DAY_US == 0 {
        format!("INTERVAL '{} days'", us / DAY_US)
    } else if us % 1_000_000 == 0 {
        format!("INTERVAL '{} seconds'", us / 1_000_000)
    } else {
        format!("INTERVAL '{} milliseconds'", us / 1_000)
    }
}

/// For DuckDB, as all below: an instant in microseconds.
fn micros(time: &str) -> String {
    format!("epoch_us({time})")
}

/// The last moment at or before `us` that lies a multiple of `length` from `offset`.
fn floor(us: &str, length: i64, offset: i64) -> String {
    format!("({us} - ((({us} - ({offset})) % {length} + {length}) % {length}))")
}
