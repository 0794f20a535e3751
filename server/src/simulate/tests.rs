//! The simulation as a whole: the same bytes for a seed, the truth beside them, and goals that stir the crowd.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::output::{Destination, Writing, Written, pump, run};
use super::*;
use crate::clock::Clock;

/// A record with its own copy of what it holds.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    topic: Topic,
    class: Class,
    key: Vec<u8>,
    event_ms: i64,
    send_ms: i64,
    value: Vec<u8>,
}

impl Owned {
    /// The record where it is one: neither spoilt nor of dirt.
    fn good(&self) -> Option<Value> {
        let value: Value = serde_json::from_slice(&self.value).ok()?;
        let id = value.get("match_id").or(value.get("matchId"))?.as_str()?;
        (id != "dirt").then_some(value)
    }
}

fn simulate(settings: &SimulationSettings) -> (Vec<Owned>, Simulation) {
    let mut simulation = Simulation::new(settings).unwrap();
    let (mut batch, mut records) = (Batch::default(), Vec::new());
    while simulation.next(&mut batch) {
        records.extend(batch.records().iter().map(|record| Owned {
            topic: record.topic,
            class: record.class,
            key: batch.key(record).as_ref().to_vec(),
            event_ms: record.event_time_ms,
            send_ms: record.send_time_ms,
            value: batch.value(record).to_vec(),
        }));
    }
    (records, simulation)
}

fn smoke(seed: u64) -> SimulationSettings {
    SimulationSettings::new(Profile::Smoke, seed)
}

fn a_match(viewers: usize) -> SimulationSettings {
    SimulationSettings { viewers, ..SimulationSettings::new(Profile::Standard, 7) }
}

/// The truth files of a simulation, by name.
fn truth_files(simulation: &mut Simulation) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    simulation.write_truth(folder.path()).unwrap();
    read_folder(folder.path())
}

fn read_folder(folder: &Path) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn hash(records: &[Owned]) -> String {
    let mut hash = Sha256::new();
    for record in records {
        hash.update(record.topic.name());
        hash.update(&record.key);
        hash.update(record.send_ms.to_le_bytes());
        hash.update(&record.value);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

// The same settings give the same records, another seed gives others.
#[test]
fn a_seed_decides_every_byte() {
    let settings = SimulationSettings { matches: 3, ..smoke(1) };
    let (first, mut simulation) = simulate(&settings);
    let (second, mut again) = simulate(&settings);
    assert!(first == second);
    assert_eq!(truth_files(&mut simulation), truth_files(&mut again));
    assert!(first != simulate(&SimulationSettings { seed: 2, ..settings }).0);
}

// These bytes do not depend on the machine: a change of the simulator is a change of these hashes.
#[test]
fn bytes_are_pinned() {
    let mixed = SimulationSettings { spelling: Spellings::Mixed, matches: 2, ..smoke(42) };
    assert_eq!([hash(&simulate(&smoke(42)).0), hash(&simulate(&mixed).0)], ["73f5ffb3de5ba632", "f2b42db9e40a0ad2"]);
}

// Records arrive in order, and of those that are called punctual none is late where five seconds of disorder are allowed.
#[test]
fn punctual_records_are_never_late() {
    let (records, _) = simulate(&SimulationSettings { matches: 2, ..a_match(20_000) });
    assert!(records.is_sorted_by_key(|record| record.send_ms));
    let mut newest = [i64::MIN; 5];
    let mut classes = BTreeMap::new();
    for record in &records {
        *classes.entry(record.class).or_insert(0) += 1;
        if record.class == Class::Punctual {
            let newest = &mut newest[record.topic as usize];
            assert!(record.event_ms >= newest.saturating_sub(4_500), "{record:?}");
            *newest = record.event_ms.max(*newest);
        }
    }
    let share = |class| f64::from(classes[&class]) / records.len() as f64;
    assert!((0.008..0.02).contains(&share(Class::Late)), "{classes:?}");
    assert!((0.0002..0.003).contains(&share(Class::Ahead)), "{classes:?}");
}

// Every record is counted once by topic and class; copies are the same bytes; dirt is what the verdicts say.
#[test]
fn truth_counts_what_is_sent() {
    let (records, mut simulation) = simulate(&SimulationSettings { dirt: 0.01, ..a_match(20_000) });
    let mut found: BTreeMap<Topic, (TopicTruth, BTreeSet<Vec<u8>>)> = BTreeMap::new();
    for record in &records {
        let (counts, distinct) = found.entry(record.topic).or_default();
        counts.records += 1;
        let readable = record.good().filter(|value| {
            let number = |name: &str| value.get(name).is_none_or(|number| number.is_u64());
            value["timestamp"].as_str().is_some_and(|time| time.starts_with("20")) && number("shots")
        });
        let Some(value) = readable else {
            counts.dirty += 1;
            continue;
        };
        match record.class {
            Class::Punctual => counts.punctual += 1,
            Class::Late => counts.late += 1,
            Class::Ahead => counts.ahead += 1,
        }
        counts.duplicates += u64::from(!distinct.insert(record.value.clone()));
        let time = chrono::DateTime::parse_from_rfc3339(value["timestamp"].as_str().unwrap()).unwrap();
        assert_eq!(time.timestamp_millis(), record.event_ms);
        let key = if record.topic == Topic::Engagements { &value["user_id"] } else { &value["match_id"] };
        assert_eq!(key.as_str().unwrap().as_bytes(), record.key);
    }
    let truth = simulation.truth();
    for topic in Topic::ALL {
        let counts = &found[&topic].0;
        let expected = TopicTruth { late_by_bucket: Default::default(), ..truth.topic(topic).clone() };
        assert_eq!(*counts, expected, "{topic:?}");
        assert!(topic == Topic::LiveMatches || counts.late > 0, "{topic:?}");
    }
    let engagements = truth.topic(Topic::Engagements);
    let share = |count: u64| count as f64 / engagements.records as f64;
    assert!((0.004..0.006).contains(&share(engagements.duplicates)), "{engagements:?}");
    assert!((0.009..0.011).contains(&share(engagements.dirty)), "{engagements:?}");
    assert_eq!(truth.match_events()["kickoff"], 1);
    let files = truth_files(&mut simulation);
    let dead = rows(&files["dead_letters.ndjson"]);
    let kinds: BTreeSet<&str> = dead.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.len(), 12, "{kinds:?}");
    let dirty: u64 = dead.iter().map(|row| row["records"].as_u64().unwrap()).sum();
    assert_eq!(dirty, Topic::ALL.iter().map(|topic| simulation.truth().topic(*topic).dirty).sum::<u64>());
}

// Neither how records are spelt nor how they are written changes what is true, and each spelling is used.
#[test]
fn the_truth_does_not_depend_on_the_spelling() {
    let (snake, mut plain) = simulate(&smoke(3));
    let (records, mut mixed) = simulate(&SimulationSettings { spelling: Spellings::Mixed, ..smoke(3) });
    assert_eq!(truth_files(&mut plain), truth_files(&mut mixed));
    assert_eq!(snake.len(), records.len());
    let good: Vec<Value> = records.iter().filter(|r| r.topic == Topic::MatchEvents).filter_map(Owned::good).collect();
    let camel = good.iter().filter(|value| value.get("eventType").is_some_and(|kind| kind == "pass")).count();
    let upper = good.iter().filter(|value| value["event_type"] == "PASS" && value["team"].is_string()).count();
    let lower = good.iter().filter(|value| value["event_type"] == "pass" && value["team_id"].is_string()).count();
    assert!(camel > 10 && upper > 10 && lower > 10, "{camel} {upper} {lower}");
}

// A part of a match is what arrives in its time, byte for byte, and its truth counts that alone.
#[test]
fn a_span_is_a_part_of_the_whole() {
    let (all, _) = simulate(&smoke(3));
    let span_ms = 60_000..180_000;
    let (part, simulation) = simulate(&SimulationSettings { span_ms: span_ms.clone(), ..smoke(3) });
    let within: Vec<Owned> =
        all.into_iter().filter(|record| span_ms.contains(&(record.send_ms - START_DEFAULT / 1000))).collect();
    assert!(part.len() > 1_000 && part == within);
    assert_eq!(Topic::ALL.iter().map(|topic| simulation.truth().topic(*topic).records).sum::<u64>(), part.len() as u64);
    assert_eq!(
        (simulation.start_ms(), simulation.end_ms()),
        (START_DEFAULT / 1000 + 60_000, START_DEFAULT / 1000 + 180_000)
    );
}

// The windows of the crowd are those that a naive count of the records gives.
#[test]
fn crowd_windows_are_those_of_a_naive_count() {
    let settings = SimulationSettings { matches: 2, ..smoke(11) };
    let (records, mut simulation) = simulate(&settings);
    let mut tens: BTreeMap<(i64, String), [u64; 3]> = BTreeMap::new();
    let mut minutes: BTreeMap<(i64, String, String), (u64, BTreeSet<String>)> = BTreeMap::new();
    let mut devices = minutes.clone();
    let mut read = 0;
    for record in records.iter().filter(|record| record.topic == Topic::Engagements) {
        let Some(value) = record.good().filter(|_| record.class == Class::Punctual) else { continue };
        read += 1;
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        let ten = tens.entry((record.event_ms / 10_000, text("match_id"))).or_default();
        ten[0] += 1;
        ten[1] += u64::from(value["engagement_type"] == "reaction");
        ten[2] += u64::from(!value["related_game_event_id"].is_null());
        let minute = record.event_ms / 60_000;
        for (map, key) in
            [(&mut minutes, text("engagement_type")), (&mut devices, text("device_type") + &text("platform"))]
        {
            let (events, users) = map.entry((minute, text("match_id"), key)).or_default();
            *events += 1;
            users.insert(text("user_id"));
        }
    }
    let files = truth_files(&mut simulation);
    let count = |row: &Value, name: &str| row[name].as_u64().unwrap();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let start = |row: &Value| {
        chrono::DateTime::parse_from_rfc3339(row["window_start"].as_str().unwrap()).unwrap().timestamp_millis()
    };
    let found: BTreeMap<_, _> = rows(&files["crowd_10s.ndjson"])
        .iter()
        .map(|row| {
            let counts = ["events", "reactions", "about_an_event"].map(|name| count(row, name));
            ((start(row) / 10_000, text(row, "match_id")), counts)
        })
        .collect();
    assert_eq!(found, tens);
    let by = |file: &str, key: &dyn Fn(&Value) -> String| -> BTreeMap<_, _> {
        rows(&files[file])
            .iter()
            .map(|row| {
                ((start(row) / 60_000, text(row, "match_id"), key(row)), [count(row, "events"), count(row, "users")])
            })
            .collect()
    };
    let naive = |map: BTreeMap<_, (u64, BTreeSet<String>)>| -> BTreeMap<_, _> {
        map.into_iter().map(|(key, (events, users))| (key, [events, users.len() as u64])).collect()
    };
    assert_eq!(by("engagement_per_minute.ndjson", &|row| text(row, "engagement_type")), naive(minutes));
    let device = |row: &Value| text(row, "device_type") + &text(row, "platform");
    assert_eq!(by("device_minutes.ndjson", &device), naive(devices));
    let summary: Value = serde_json::from_str(&files["summary.json"]).unwrap();
    assert_eq!(summary["queries"]["crowd_10s"]["input_rows"], read);
}

// Sessions by name and by gaps, and the uplift of each event, are those that a naive count of the records gives. With heartbeats, which
// come twice a minute, somebody who stays has one session of each kind.
#[test]
fn sessions_and_uplift_are_those_of_a_naive_count() {
    let settings = SimulationSettings { heartbeats: true, matches: 2, dirt: 0.0, ..a_match(300) };
    let (records, mut simulation) = simulate(&settings);
    let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let mut named: BTreeMap<[String; 3], (i64, i64, u64, u64, bool)> = BTreeMap::new();
    let mut punctual: BTreeMap<[String; 2], Vec<i64>> = BTreeMap::new();
    let mut heartbeats = 0;
    for record in records.iter().filter(|r| r.topic == Topic::Engagements && r.class != Class::Ahead) {
        let value = record.good().unwrap();
        let [id, user, session] = ["match_id", "user_id", "session_id"].map(|name| text(&value, name));
        let sitting = named.entry([id.clone(), user.clone(), session]).or_insert((i64::MAX, i64::MIN, 0, 0, false));
        (sitting.0, sitting.1) = (sitting.0.min(record.event_ms), sitting.1.max(record.event_ms));
        sitting.2 += 1;
        sitting.3 += u64::from(value["engagement_type"] == "reaction");
        sitting.4 |= value["engagement_subtype"] == "leave";
        heartbeats += usize::from(value["engagement_subtype"] == "heartbeat");
        if record.class == Class::Punctual {
            punctual.entry([id, user]).or_default().push(record.event_ms);
        }
    }
    // 300 viewers, of whom most stay for most of a match, twice a minute.
    assert!((30_000..60_000).contains(&heartbeats), "{heartbeats}");

    let files = truth_files(&mut simulation);
    let ms = |row: &Value, name: &str| {
        chrono::DateTime::parse_from_rfc3339(row[name].as_str().unwrap()).unwrap().timestamp_millis()
    };
    let found: BTreeMap<_, _> = rows(&files["sessions.ndjson"])
        .iter()
        .map(|row| {
            let key = ["match_id", "user_id", "session_id"].map(|name| text(row, name));
            let [events, reactions] = ["events", "reactions"].map(|name| row[name].as_u64().unwrap());
            (key, (ms(row, "began"), ms(row, "ended"), events, reactions, row["left_explicitly"] == true))
        })
        .collect();
    assert!(found == named, "{} sessions by name, {} expected", found.len(), named.len());

    let mut gaps = Vec::new();
    for ([id, user], mut times) in punctual.clone() {
        times.sort_unstable();
        for sitting in times.chunk_by(|earlier, later| later - earlier <= 300_000) {
            let (first, last) = (sitting[0], sitting[sitting.len() - 1]);
            gaps.push((id.clone(), user.clone(), first, last + 300_000, sitting.len() as u64));
        }
    }
    let found: Vec<_> = rows(&files["sessions_by_gap.ndjson"])
        .iter()
        .map(|row| {
            let [start, end] = ["window_start", "window_end"].map(|name| ms(row, name));
            (text(row, "match_id"), text(row, "user_id"), start, end, row["events"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(found, gaps);
    assert!(gaps.len() > punctual.len() && gaps.len() < 2 * punctual.len(), "{} of {}", gaps.len(), punctual.len());

    let mut impacts = 0;
    for row in rows(&files["goal_uplift.ndjson"]) {
        let (at, id) = (ms(&row, "event_time"), text(&row, "match_id"));
        let of_match = || punctual.iter().filter(|(key, _)| key[0] == id);
        let count = |times: &[i64], from: i64, to: i64| times.iter().filter(|t| (from..to).contains(*t)).count() as u64;
        let sum = |from: i64, to: i64| of_match().map(|(_, times)| count(times, from, to)).sum::<u64>();
        let (after, before) = (sum(at, at + 60_000), sum(at - 300_000, at));
        let users = of_match().filter(|(_, times)| count(times, at, at + 60_000) > 0).count() as u64;
        let uplift = (after as f64 + 0.5) / 60.0 / ((before as f64 + 0.5) / 300.0);
        let told = ["after_n", "before_n", "users_after"].map(|name| row[name].as_u64().unwrap());
        assert_eq!(told, [after, before, users]);
        assert!((row["uplift"].as_f64().unwrap() - uplift).abs() < 1e-9);
        impacts += 1;
    }
    let goals = simulation.truth().goals().len();
    assert!(impacts >= goals && goals > 0, "{impacts} {goals}");
}

// Shots, corners and passes in the windows add up to the first reports, and a retraction raises an alert.
#[test]
fn pitch_windows_hold_every_first_report() {
    let mut cancelled = 0;
    for seed in 0..6 {
        let (records, mut simulation) = simulate(&SimulationSettings { seed, matches: 10, ..a_match(10) });
        let good: Vec<Value> = records
            .iter()
            .filter(|r| r.topic == Topic::MatchEvents && r.class == Class::Punctual)
            .filter_map(Owned::good)
            .collect();
        let first = |value: &&Value| value["op"] == "upsert" && value["revision"] == 0;
        let count = |kinds: &[&str]| {
            let of = good.iter().filter(first).filter(|value| kinds.contains(&value["event_type"].as_str().unwrap()));
            of.count() as u64
        };
        let files = truth_files(&mut simulation);
        let sum =
            |file: &str, name: &str| rows(&files[file]).iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>();
        assert_eq!(sum("momentum_5m.ndjson", "shots"), count(&["shot", "shot_on_target", "goal"]));
        assert_eq!(sum("momentum_5m.ndjson", "corners"), count(&["corner"]));
        assert_eq!(sum("shots_with_players.ndjson", "punctual"), count(&["shot", "shot_on_target", "goal"]));
        let touches = good.iter().filter(first).filter(|value| value["x"].is_f64() && value["player_id"].is_string());
        assert_eq!(sum("heatmap_15m.ndjson", "touches"), touches.count() as u64);
        let expected = good.iter().filter(first).filter_map(|value| value["xg"].as_f64()).sum::<f64>();
        let found: f64 = rows(&files["momentum_5m.ndjson"]).iter().filter_map(|row| row["xg"].as_f64()).sum();
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        // Each action is in ten overlapping windows, and late once.
        let summary: Value = serde_json::from_str(&files["summary.json"]).unwrap();
        let index = &summary["queries"]["momentum_index"];
        assert_eq!(index["late_entries"], index["late_rows"]);
        let taken_back = simulation.truth().goals().iter().filter(|goal| goal.cancelled).count();
        let alerts = rows(&files["event_alerts.ndjson"]);
        assert_eq!(alerts.iter().filter(|row| row["kind"] == "goal_cancelled").count(), taken_back);
        cancelled += taken_back;
    }
    assert!(cancelled > 0);
}

// After a goal, when the picture has reached the viewers, the crowd is several times as busy as in a usual minute.
#[test]
fn a_goal_stirs_the_crowd() {
    let (records, simulation) = simulate(&a_match(50_000));
    let times: Vec<i64> = records.iter().filter(|r| r.topic == Topic::Engagements).map(|r| r.event_ms).collect();
    let within = |from: i64, to: i64| times.iter().filter(|time| (from..to).contains(*time)).count();
    let start = simulation.settings.start / 1000;
    let mut minutes: Vec<usize> = (0..90).map(|at| within(start + at * 60_000, start + (at + 1) * 60_000)).collect();
    minutes.sort_unstable();
    let usual = minutes[45];
    assert!(!simulation.truth().goals().is_empty());
    for goal in simulation.truth().goals() {
        let after = within(goal.event_time_ms + 15_000, goal.event_time_ms + 75_000);
        assert!(after > 3 * usual, "{goal:?}: {after} acts after it, {usual} in a usual minute");
    }
    // 50,000 people who act 0.1 times a minute for 95 minutes would act 450,000 times; events about double it.
    assert!((450_000..1_100_000).contains(&times.len()), "{}", times.len());
}

// The score that is shown at the end is the number of goals that stand, whoever is named as the scorer.
#[test]
fn the_scoreboard_agrees_with_the_goals() {
    for seed in 0..12 {
        let (records, simulation) = simulate(&SimulationSettings { seed, ..a_match(1) });
        let boards = records.iter().filter(|r| r.topic == Topic::LiveMatches).filter_map(Owned::good);
        let last = boards.filter(|value| value["status"] == "FINISHED");
        let last = last.max_by_key(|value| value["timestamp"].to_string()).unwrap();
        let goals = simulation.truth().goals();
        let stand = |team: &str| goals.iter().filter(|goal| !goal.cancelled && goal.team_id == team).count();
        let score = (&stand("t001").into(), &stand("t002").into());
        assert_eq!((&last["home_score"], &last["away_score"]), score, "seed {seed}");
        let told = &simulation.truth().matches[0];
        assert_eq!((told.home_score as usize, told.away_score as usize), (stand("t001"), stand("t002")));
    }
}

// The demo's first goals are seen within half a minute at 60 times the speed, and one when it has caught up with the clock.
#[test]
fn the_demo_has_goals_when_they_are_looked_for() {
    let now = START_DEFAULT;
    let settings = SimulationSettings { viewers: 2, ..SimulationSettings::demo(now, None) };
    let (_, simulation) = simulate(&settings);
    let stand = simulation.truth().goals().iter().filter(|goal| !goal.cancelled);
    let goals: Vec<i64> = stand.map(|goal| (goal.event_time_ms - settings.start / 1000) / 1000).collect();
    assert_eq!(goals[..3], [2 * 60 + 12, 23 * 60 + 17, 63 * 60 + 52]);
    let told = Simulation::goals_ms(&settings).unwrap();
    assert_eq!(told.iter().map(|ms| ms / 1000).collect::<Vec<_>>(), goals);
    // A demo that goes on is neither earlier than the one before nor the same.
    let next = SimulationSettings::demo(now + 60_000_000, Some(now));
    assert!(next.start > now && next.seed != settings.seed);
}

// The pump plays fast until it reaches the clock and is live from there: no record comes before its time.
#[test]
fn the_pump_catches_up_and_then_keeps_time() {
    let settings = smoke(3);
    let began = settings.start + 120_000_000;
    let now = Cell::new(began);
    let mut simulation = Simulation::new(&settings).unwrap();
    let mut wait = |pause: Duration| {
        now.set(now.get() + pause.as_micros() as i64);
        ControlFlow::Continue(())
    };
    let mut caught_up = None;
    let mut count = 0;
    let latest = pump(&mut simulation, 10.0, &|| now.get(), &mut wait, &mut |_, records| {
        for record in records {
            count += 1;
            let sent = record.send_time_ms * 1000;
            assert!(sent <= now.get(), "a record came before its time");
            assert!(now.get() - began >= (sent - settings.start) / 10, "a record came too fast");
            if caught_up.is_none() && now.get() - sent < 1_000_000 {
                caught_up = Some(now.get() - began);
            }
        }
        Ok(())
    })
    .unwrap();
    let (records, _) = simulate(&settings);
    assert_eq!(count, records.len());
    assert_eq!(latest, records.iter().map(|record| record.event_ms * 1000).max());
    // 120 s behind, gaining 9 s a second.
    assert!((12_000_000..15_000_000).contains(&caught_up.unwrap()), "{caught_up:?}");
}

// Told to end, the pump ends; a sink's error is the pump's.
#[test]
fn the_pump_ends_when_told() {
    let mut simulation = Simulation::new(&smoke(3)).unwrap();
    let ended = pump(&mut simulation, 0.0, &|| 0, &mut |_| ControlFlow::Break(()), &mut |_, _| unreachable!());
    assert_eq!(ended.unwrap(), None);
    let failed =
        pump(&mut simulation, 0.0, &|| 0, &mut |_| ControlFlow::Continue(()), &mut |_, _| Err(Error::bug("full")));
    assert_eq!(failed.unwrap_err().primary(), "full");
}

fn writing() -> Writing {
    Writing { partitions: 3, speed: 0.0, classes: vec![Class::Punctual, Class::Late], seal: false, truth: None }
}

fn write(settings: &SimulationSettings, to: &Path, writing: &Writing) -> Written {
    let to = Destination::Folder(to.to_owned());
    run(settings, &to, writing, &Clock::manual(i64::MAX / 2), &mut |_| ControlFlow::Continue(())).unwrap()
}

// The files are the records of each topic in the order of their arrival, those of a key in one file.
#[test]
fn files_hold_what_was_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("new");
    let settings = SimulationSettings { viewers: 100, ..smoke(5) };
    let written = write(&settings, &to, &writing());
    let (records, mut simulation) = simulate(&settings);
    for topic in Topic::ALL {
        let mut all = 0;
        for partition in 0..3 {
            let expected: Vec<&[u8]> = records
                .iter()
                .filter(|r| r.topic == topic && r.class != Class::Ahead)
                .filter(|r| output::partition_of(&r.key, 3) == partition)
                .map(|r| r.value.as_slice())
                .collect();
            all += expected.len() as u64;
            let text = std::fs::read(to.join(topic.name()).join(format!("{partition:02}.ndjson"))).unwrap();
            assert!(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).eq(expected), "{topic:?}");
        }
        assert_eq!(written.records[topic as usize], all);
    }
    assert_eq!(read_folder(&to.join("truth")), truth_files(&mut simulation));
    assert!(to.join("teams.csv").exists() && to.join("players.csv").exists());
}

// Punctual and late records are all there is; sealed, each partition ends an hour after everything else; files of an
// earlier run do not stay.
#[test]
fn classes_are_written_apart() {
    let folder = tempfile::tempdir().unwrap();
    let count = |classes: &[Class], partitions, seal| {
        let writing = Writing { classes: classes.to_vec(), partitions, seal, ..writing() };
        write(&smoke(5), folder.path(), &writing).all()
    };
    let both = count(&[Class::Punctual, Class::Late], 3, false);
    let late = count(&[Class::Late], 1, false);
    let truth = read_folder(&folder.path().join("truth"));
    assert!(late > 0 && !folder.path().join("engagements/02.ndjson").exists());
    let punctual = count(&[Class::Punctual], 2, true);
    assert_eq!((both, truth), (punctual - 10 + late, read_folder(&folder.path().join("truth"))));
    for topic in Topic::ALL {
        for file in ["00.ndjson", "01.ndjson"] {
            let text = std::fs::read_to_string(folder.path().join(topic.name()).join(file)).unwrap();
            let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            assert_eq!(
                (&last["match_id"], &last["timestamp"].as_str().unwrap()[..16]),
                (&"end".into(), "2026-01-10T16:05")
            );
        }
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    for (settings, said) in [
        (SimulationSettings { matches: 51, ..smoke(1) }, "51 matches cannot be simulated at once"),
        (SimulationSettings { viewers: 0, ..smoke(1) }, "0 viewers cannot be simulated"),
        (SimulationSettings { start: -1, ..smoke(1) }, "the simulation cannot start at that time"),
        (SimulationSettings { span_ms: 5..5, ..smoke(1) }, "nothing lies between the beginning and the end"),
        (SimulationSettings { dirt: 0.9, ..smoke(1) }, "a share of 0.9 dirty records is not possible"),
    ] {
        let error = Simulation::new(&settings).unwrap_err();
        assert_eq!((error.primary(), error.hint_text().is_some()), (said, true));
    }
    let error = run(
        &smoke(1),
        &Destination::Folder("unused".into()),
        &Writing { partitions: 65, ..writing() },
        &Clock::System,
        &mut |_| ControlFlow::Continue(()),
    );
    assert_eq!(error.unwrap_err().primary(), "65 partitions are not possible");
}
