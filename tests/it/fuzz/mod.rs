//! Bytes that nobody has looked at before: whatever reads them takes or refuses them, without a panic, within seconds and half a gigabyte.
//!
//! Inputs are those of `tests/fuzz/corpus/<target>/`, each as it is, and then mutants of them, by seed. One that finds something is put
//! beside them, where it is tried from then on. `TOUCHLINE_TEST_FUZZ_SECONDS` lets each target go on for so long, and
//! `TOUCHLINE_TEST_FUZZ_SEED` begin elsewhere.

mod mutate;
mod records;
mod stored;
mod texts;

use std::any::Any;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use touchline::cli::WORKER_STACK_BYTES;

use self::mutate::Draw;
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    let all = [&records::JSON, &records::CSV, &texts::SQL, &texts::CONFIG, &stored::STORED];
    all.into_iter().map(|target| trial(&format!("fuzz::{}", target.claim), &[], move || run(target))).collect()
}

/// CPU time of one input, on however slow a machine, not optimized. The largest that a mutant can be takes a tenth of it there.
const CPU_MAX: Duration = Duration::from_secs(10);
/// An input that does not come back at all, on however busy a machine.
const HANGS_AFTER: Duration = Duration::from_secs(60);
/// By which one input may raise the most memory that this process has had.
const GROWTH_MAX: u64 = 512 << 20;
/// What took less is not looked at: so much memory is not touched in this time.
const LOOKED_AT: Duration = Duration::from_millis(5);
/// Reading how much memory there was costs as much as a small input.
const MEMORY_EVERY: u64 = 100;

/// Something that reads bytes from outside.
struct Target {
    /// Of its folder in the corpus.
    name: &'static str,
    claim: &'static str,
    /// What a mutant may have in place of a token.
    words: &'static [&'static str],
    /// Mutants of a short run, which takes some seconds at the most.
    mutants: u64,
    /// What there is to begin with beside its folder, and who reads it. It may refuse an input in any way, and only a panic is a fault.
    make: fn() -> Made,
}

type Take = Box<dyn FnMut(&Input)>;
type Made = Result<(Vec<Input>, Take), Failed>;

#[derive(Debug, Clone, Default)]
struct Input {
    /// Of the object that it is, for a target that has several.
    name: String,
    bytes: Vec<u8>,
}

/// What is being read, and since when.
type Current = Mutex<Option<(Input, Instant)>>;

fn run(target: &'static Target) -> Outcome {
    let current = Arc::new(Current::default());
    let shared = Arc::clone(&current);
    // As the threads of a server have it: what is deep must not need more.
    let worker = thread::Builder::new().stack_size(WORKER_STACK_BYTES).spawn(move || work(target, &shared))?;
    while !worker.is_finished() {
        let hanging = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((input, _)) = hanging.filter(|(_, since)| since.elapsed() > HANGS_AFTER) {
            return Err(format!("{HANGS_AFTER:?} were not enough for {}", keep(target, &input)?.display()).into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    worker.join().unwrap_or_else(|panic| Err(format!("the fuzzer itself panicked: {}", said(&*panic)).into()))
}

fn work(target: &Target, current: &Current) -> Outcome {
    let (mut corpus, mut take) = (target.make)()?;
    corpus.extend(kept(target)?);
    let first: u64 = number("TOUCHLINE_TEST_FUZZ_SEED")?.unwrap_or(1);
    let seconds = number("TOUCHLINE_TEST_FUZZ_SECONDS")?.map(Duration::from_secs);
    let mut peak = peak_bytes()?;
    for input in &corpus {
        attempt(&mut take, input, current, &mut peak)
            .map_err(|fault| format!("{} of the corpus, {} bytes: {fault}", input.name, input.bytes.len()))?;
    }
    let (began, mut seed) = (Instant::now(), first);
    while seconds.map_or(seed - first < target.mutants, |seconds| began.elapsed() < seconds) {
        if seed.is_multiple_of(MEMORY_EVERY) {
            peak = peak_bytes()?;
        }
        let input = mutate::mutant(&corpus, target.words, &mut Draw::new(seed));
        if let Err(fault) = attempt(&mut take, &input, current, &mut peak) {
            let kept = keep(target, &input)?;
            return Err(format!("seed {seed}: {fault}\nit is kept as {}", kept.display()).into());
        }
        seed += 1;
    }
    Ok(())
}

/// What is wrong about how an input was read.
fn attempt(take: &mut Take, input: &Input, current: &Current, peak: &mut u64) -> Result<(), String> {
    let cpu = cpu_time()?;
    let began = Instant::now();
    *current.lock().unwrap_or_else(PoisonError::into_inner) = Some((input.clone(), began));
    catch_unwind(AssertUnwindSafe(|| take(input))).map_err(|panic| format!("it panicked: {}", said(&*panic)))?;
    *current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    if began.elapsed() < LOOKED_AT {
        return Ok(());
    }
    let cpu = cpu_time()?.saturating_sub(cpu);
    if cpu > CPU_MAX {
        return Err(format!("it took {cpu:?} of a core"));
    }
    let before = std::mem::replace(peak, peak_bytes()?);
    match peak.saturating_sub(before) {
        grown if grown > GROWTH_MAX => Err(format!("it took {} MiB", grown >> 20)),
        _ => Ok(()),
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}

/// CPU time of this thread so far, to 10 ms.
fn cpu_time() -> Result<Duration, String> {
    let text = fs::read_to_string("/proc/thread-self/stat").map_err(|error| error.to_string())?;
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// The most memory that this process has had resident.
fn peak_bytes() -> Result<u64, String> {
    let text = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().map_err(|_| line.to_owned())?;
    Ok(kib * 1024)
}

fn number(variable: &str) -> Result<Option<u64>, Failed> {
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => {
            Ok(Some(text.parse::<u64>().map_err(|error| format!("{variable}={text}: {error}"))?))
        }
        _ => Ok(None),
    }
}

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name)
}

/// Between the name of an object, with its slashes as `=`, and what tells its mutants apart.
const MARK: char = '~';

fn kept(target: &Target) -> Result<Vec<Input>, Failed> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder(target)) else { return Ok(found) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split(MARK).next().unwrap_or_default().replace('=', "/");
        found.push(Input { name, bytes: fs::read(&path)? });
    }
    // A seed means the same mutant wherever it is run.
    found.sort_by(|a, b| (&a.name, &a.bytes).cmp(&(&b.name, &b.bytes)));
    Ok(found)
}

fn keep(target: &Target, input: &Input) -> Result<PathBuf, Failed> {
    let mut hash = DefaultHasher::new();
    input.bytes.hash(&mut hash);
    let folder = folder(target);
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{}{MARK}{:016x}", input.name.replace('/', "="), hash.finish()));
    fs::write(&path, &input.bytes)?;
    Ok(path)
}
