//! The simulation as a whole: the same bytes for a seed, the truth beside them, and goals that stir the crowd.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::Value;

use super::*;

fn simulate(settings: &SimulationSettings) -> (Vec<SimRecord>, Truth) {
    let mut simulation = Simulation::new(settings).unwrap();
    let records: Vec<SimRecord> = (&mut simulation).collect();
    (records, simulation.truth().clone())
}

fn a_match(viewers: usize) -> SimulationSettings {
    SimulationSettings { viewers, ..SimulationSettings::new(Profile::Standard, 7) }
}

// The same settings give the same records, another seed gives others.
#[test]
fn a_seed_decides_every_byte() {
    let settings = SimulationSettings { matches: 3, ..SimulationSettings::new(Profile::Smoke, 1) };
    assert_eq!(simulate(&settings), simulate(&settings));
    let other = SimulationSettings { seed: 2, ..settings.clone() };
    assert_ne!(simulate(&settings).0, simulate(&other).0);
}

// These bytes do not depend on the machine: a change of the simulator is a change of this hash.
#[test]
fn bytes_are_pinned() {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for record in simulate(&SimulationSettings::new(Profile::Smoke, 42)).0 {
        hash.update(record.topic);
        hash.update(&record.value);
    }
    let hash: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, "9df675cb961f90e2");
}

// Records arrive in order; all but the spoilt ones are JSON with the fields of their schema; the truth counts them.
#[test]
fn truth_counts_what_is_sent() {
    let (records, truth) = simulate(&SimulationSettings { matches: 2, ..a_match(20_000) });
    assert!(records.is_sorted_by_key(|record| record.send_time_ms));
    let mut found: BTreeMap<&str, (u64, u64, BTreeSet<Vec<u8>>)> = BTreeMap::new();
    for record in &records {
        let (all, bad, distinct) = found.entry(record.topic).or_default();
        *all += 1;
        let readable = serde_json::from_slice::<Value>(&record.value).ok().filter(|value| {
            value.get("match_id").is_some() && value["timestamp"].as_str().is_some_and(|time| time.starts_with("20"))
        });
        match readable {
            Some(value) => {
                let time = chrono::DateTime::parse_from_rfc3339(value["timestamp"].as_str().unwrap()).unwrap();
                assert_eq!(time.timestamp_millis(), record.event_time_ms);
                distinct.insert(record.value.clone());
            }
            None => *bad += 1,
        }
    }
    assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from(TOPICS));
    for (topic, (all, bad, distinct)) in found {
        let truth = &truth.topics[topic];
        assert_eq!((all, bad), (truth.records, truth.bad.values().sum::<u64>()), "{topic}");
        assert_eq!(distinct.len() as u64, all - bad - truth.duplicates, "{topic}");
    }
    let engagements = &truth.topics[ENGAGEMENTS];
    let share = |count: u64| count as f64 / engagements.records as f64;
    assert!((0.003..0.007).contains(&share(engagements.duplicates)), "{engagements:?}");
    assert!((0.008..0.014).contains(&share(engagements.delayed)), "{engagements:?}");
    assert_eq!(engagements.bad.len(), 4);
    assert_eq!(truth.match_events["kickoff"], 2);
}

// After a goal, when the picture has reached the viewers, the crowd is several times as busy as in a usual minute.
#[test]
fn a_goal_stirs_the_crowd() {
    let (records, truth) = simulate(&a_match(50_000));
    let times: Vec<i64> = records.iter().filter(|r| r.topic == ENGAGEMENTS).map(|r| r.event_time_ms).collect();
    let within = |from: i64, to: i64| times.iter().filter(|time| (from..to).contains(*time)).count();
    let start = records[0].send_time_ms;
    let mut minutes: Vec<usize> = (0..90).map(|at| within(start + at * 60_000, start + (at + 1) * 60_000)).collect();
    minutes.sort_unstable();
    let usual = minutes[45];
    assert!(!truth.goals.is_empty());
    for goal in &truth.goals {
        let after = within(goal.event_time_ms + 15_000, goal.event_time_ms + 75_000);
        assert!(after > 3 * usual, "{goal:?}: {after} acts after it, {usual} in a usual minute");
    }
    // 50,000 people who act 0.1 times a minute for 95 minutes would act 450,000 times; events about double it.
    assert!((450_000..1_100_000).contains(&times.len()), "{}", times.len());
}

// The score that is shown at the end is the number of goals that stand.
#[test]
fn the_scoreboard_agrees_with_the_goals() {
    for seed in 0..12 {
        let settings = SimulationSettings { seed, ..a_match(1) };
        let (records, truth) = simulate(&settings);
        let last = records.iter().filter(|record| record.topic == LIVE_MATCHES);
        let last = last.filter_map(|record| serde_json::from_slice::<Value>(&record.value).ok());
        let last =
            last.filter(|value| value["status"] == "FINISHED").max_by_key(|value| value["timestamp"].to_string());
        let last = last.unwrap();
        let stand = |team: &str| truth.goals.iter().filter(|goal| !goal.cancelled && goal.team_id == team).count();
        assert_eq!(
            (&last["home_score"], &last["away_score"]),
            (&stand("t001").into(), &stand("t002").into()),
            "seed {seed}"
        );
    }
}

// The demo's first goal falls early enough to be seen within half a minute at 30 times the speed.
#[test]
fn the_demo_has_an_early_goal() {
    let now = START_DEFAULT;
    let settings = SimulationSettings { viewers: 2, ..SimulationSettings::demo(now, None) };
    let (_, truth) = simulate(&settings);
    let first = truth.goals.iter().map(|goal| goal.event_time_ms).min().unwrap() - settings.start / 1000;
    assert!(first < 11 * 60_000, "the first goal falls {} s after the kick-off", first / 1000);
    // A demo that goes on is neither earlier than the one before nor the same.
    let next = SimulationSettings::demo(now + 60_000_000, Some(now));
    assert!(next.start > now && next.seed != settings.seed);
}

// The pump plays fast until it reaches the clock and is live from there: no record comes before its time.
#[test]
fn the_pump_catches_up_and_then_keeps_time() {
    let settings = SimulationSettings::new(Profile::Smoke, 3);
    let began = settings.start + 120_000_000;
    let now = Cell::new(began);
    let mut simulation = Simulation::new(&settings).unwrap();
    let mut wait = |pause: Duration| {
        now.set(now.get() + pause.as_micros() as i64);
        ControlFlow::Continue(())
    };
    let mut caught_up = None;
    let mut count = 0;
    let latest = pump(&mut simulation, 10.0, &|| now.get(), &mut wait, &mut |records| {
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
    assert_eq!(latest, records.iter().map(|record| record.event_time_ms * 1000).max());
    // 120 s behind, gaining 9 s a second.
    assert!((12_000_000..15_000_000).contains(&caught_up.unwrap()), "{caught_up:?}");
}

// Told to end, the pump ends; a sink's error is the pump's.
#[test]
fn the_pump_ends_when_told() {
    let settings = SimulationSettings::new(Profile::Smoke, 3);
    let mut simulation = Simulation::new(&settings).unwrap();
    let ended = pump(&mut simulation, 0.0, &|| 0, &mut |_| ControlFlow::Break(()), &mut |_| unreachable!());
    assert_eq!(ended.unwrap(), None);
    let failed =
        pump(&mut simulation, 0.0, &|| 0, &mut |_| ControlFlow::Continue(()), &mut |_| Err(Error::bug("full")));
    assert_eq!(failed.unwrap_err().primary(), "full");
}

// The files are the records of each topic in their order, with the truth and the lookup tables beside.
#[test]
fn files_hold_what_was_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("new");
    let args =
        SimulateArgs { profile: Profile::Smoke, seed: 5, matches: 1, viewers: Some(100), start: None, to: to.clone() };
    let summary = run(&args).unwrap();
    let (records, truth) = simulate(&SimulationSettings { viewers: 100, ..SimulationSettings::new(Profile::Smoke, 5) });
    for topic in TOPICS {
        let expected: Vec<u8> =
            records.iter().filter(|r| r.topic == topic).flat_map(|r| [r.value.as_slice(), b"\n"].concat()).collect();
        assert!(std::fs::read(to.join(format!("{topic}.ndjson"))).unwrap() == expected, "{topic}");
    }
    assert_eq!(summary.truth, truth);
    let written: Value = serde_json::from_slice(&std::fs::read(to.join("truth.json")).unwrap()).unwrap();
    assert_eq!(written, serde_json::to_value(&truth).unwrap());
    assert!(to.join("teams.csv").exists() && to.join("players.csv").exists());
    for (args, said) in [
        (SimulateArgs { matches: 51, ..args.clone() }, "51 matches cannot be simulated at once"),
        (SimulateArgs { viewers: Some(0), ..args.clone() }, "0 viewers cannot be simulated"),
        (SimulateArgs { start: Some("noon".into()), ..args.clone() }, "\"noon\" is not a time"),
    ] {
        assert_eq!(run(&args).unwrap_err().primary(), said);
    }
}
