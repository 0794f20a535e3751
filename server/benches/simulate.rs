//! The simulator: `cargo bench -p touchline --bench simulate`.
//!
//! One match with all its records, made only, and written to files in the temporary folder with the truth beside them. In CPU
//! time of the one thread that does it, so that a busy machine changes little; median, least and most of the rounds.
//!
//! What made it fast, in the order of gain: records travel as 64 bytes and become text when they arrive; what is under
//! way waits in one list a second, not in a heap; the parts between the values of an engagement are prepared; viewers
//! are a table, not drawn again for each act; intervals come from a table of the exponential distribution.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use touchline::clock::Clock;
use touchline::simulate::output::{Destination, Writing, run};
use touchline::simulate::{Batch, Class, Profile, Simulation, SimulationSettings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;

fn main() {
    let standard = SimulationSettings::new(Profile::Standard, 42);
    let stress = SimulationSettings { viewers: 10_000, ..SimulationSettings::new(Profile::Stress, 42) };
    println!("records, bytes a record; CPU a record and records a second: median [least, most] of {ROUNDS} rounds\n");
    for (name, settings) in [("standard, 100,000 viewers", &standard), ("stress, 10,000 viewers", &stress)] {
        report(&format!("{name}, made only"), || made(settings));
        report(&format!("{name}, to files"), || written(settings));
    }
}

/// (records, bytes)
fn made(settings: &SimulationSettings) -> (u64, u64) {
    let settings = SimulationSettings { answers: false, ..settings.clone() };
    let mut simulation = Simulation::new(&settings).expect("the bench's own settings");
    let (mut batch, mut records, mut bytes) = (Batch::default(), 0, 0);
    while simulation.next(&mut batch) {
        records += batch.records().len() as u64;
        bytes += batch.records().iter().map(|record| batch.value(record).len() as u64 + 1).sum::<u64>();
    }
    (records, bytes)
}

fn written(settings: &SimulationSettings) -> (u64, u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let writing =
        Writing { partitions: 1, speed: 0.0, classes: vec![Class::Punctual, Class::Late], seal: false, truth: None };
    let to = Destination::Folder(folder.path().to_owned());
    let written = run(settings, &to, &writing, &Clock::System, &mut |_| ControlFlow::Continue(()))
        .expect("a temporary folder can be written");
    let mut bytes = 0;
    for topic in touchline::simulate::Topic::ALL {
        let file = folder.path().join(topic.name()).join("00.ndjson");
        bytes += file.metadata().expect("the file was written").len();
    }
    (written.all(), bytes)
}

fn report(name: &str, work: impl Fn() -> (u64, u64)) {
    let mut times = Vec::new();
    let (mut records, mut bytes) = (0, 0);
    for _ in 0..ROUNDS {
        let start = cpu_time();
        (records, bytes) = work();
        times.push(cpu_time() - start);
    }
    times.sort();
    let each = |time: Duration| time.as_nanos() as f64 / records as f64;
    let [median, least, most] = [times[ROUNDS / 2], times[0], times[ROUNDS - 1]].map(each);
    println!(
        "{name:<42} {records:>9} {:>4.0}   {median:>5.0} ns [{least:.0}, {most:.0}]  {:>6.2} M/s",
        bytes as f64 / records as f64,
        1e3 / median
    );
}

/// Of this thread; where the system does not say, the time that has passed.
fn cpu_time() -> Duration {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let on_cpu = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = on_cpu.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| BEGAN.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}
