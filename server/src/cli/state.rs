//! `touchline state`: what checkpoints there are, what is in them, whether they are whole, and what only an operator may do to them.

mod rows;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use arrow::array::RecordBatch;
use clap::{Args, Subcommand, ValueEnum};

use super::output::{OutputFormat, StandardOutput, write_rows};
use super::{environment, fail_all, tell};
use crate::checkpoint::{
    Answer, FoundChain, Generation, answer, definition_of, drop_whole, find_chain, find_chains, find_checkpoint,
    plan_drop, plan_fork, question_of, ranges, verify,
};
use crate::clock::{Clock, duration_of};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// As `touchline serve` has it.
const DEFAULT_FILE: &str = "touchline.toml";

/// A checkpoint this young means that a server is at work, where nothing else tells.
const AT_WORK_WITHIN: Duration = Duration::from_secs(60);

/// Names that are listed before it is only said how many there are.
const LISTED_MAX: usize = 20;

#[derive(Debug, Args)]
pub(super) struct StateArgs {
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// List the queries that have checkpoints: newest checkpoint, age, size
    List(ListArgs),
    /// Show what a checkpoint holds: offsets, watermarks, state, rows
    Show(ShowArgs),
    /// Read everything that the kept checkpoints need, and say what is damaged or missing
    Verify(VerifyArgs),
    /// Give checkpoints up: those behind a damaged one, or all of a query
    Drop(DropArgs),
    /// Begin a second query from a checkpoint of one
    Fork(ForkArgs),
    /// Say whether a view that has come to mean something else becomes another version
    Answer(AnswerArgs),
}

/// Where the checkpoints are.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Configuration file of the server; without it touchline.toml in the working directory, or else the defaults
    #[arg(short, long, value_name = "FILE", env = "TOUCHLINE_CONFIG")]
    config: Option<PathBuf>,
    /// Where the checkpoints are, instead of what the configuration says
    #[arg(long, value_name = "URL")]
    state_url: Option<String>,
    /// Where the public tables are, instead of what the configuration says
    #[arg(long, value_name = "URL")]
    tables_url: Option<String>,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    place: Place,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    output: OutputFormat,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The query, as `state list` calls it
    #[arg(value_name = "VIEW")]
    view: String,
    /// Which checkpoint; without it the newest
    #[arg(long, value_name = "N")]
    checkpoint: Option<u64>,
    #[command(flatten)]
    place: Place,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    output: OutputFormat,
}

#[derive(Debug, Args)]
#[command(after_help = "Ends with 0 when everything is whole, with 74 when something is damaged or missing.")]
struct VerifyArgs {
    /// The query, as `state list` calls it; without it all of them
    #[arg(value_name = "VIEW")]
    view: Option<String>,
    #[command(flatten)]
    place: Place,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    output: OutputFormat,
}

#[derive(Debug, Args)]
#[command(after_help = "Without --yes it only says what it would do.")]
struct DropArgs {
    /// The query, as `state list` calls it
    #[arg(value_name = "VIEW")]
    view: String,
    /// Give up this checkpoint and those behind it; without it all of them, with all state
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    #[command(flatten)]
    act: Act,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "Without --yes it only says what it would do.")]
struct ForkArgs {
    /// The query, as `state list` calls it
    #[arg(value_name = "VIEW")]
    view: String,
    /// The view that goes on from the copy; no view may have had this name
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// Which checkpoint; without it the newest
    #[arg(long, value_name = "N")]
    checkpoint: Option<u64>,
    #[command(flatten)]
    act: Act,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A server that runs takes it up within some seconds, one that is stopped at its next start. Another answer may follow."
)]
struct AnswerArgs {
    /// The view
    #[arg(value_name = "VIEW")]
    view: String,
    /// Whether the new version begins, or the one before runs on; without it only what is asked is said
    #[arg(value_enum)]
    answer: Option<Said>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Said {
    /// The new version begins, or goes on where it had been
    NewVersion,
    /// The version before runs on
    Keep,
}

#[derive(Debug, Args)]
struct Act {
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Do it although a server seems to run on these checkpoints: that one is turned away by it
    #[arg(long)]
    take_over: bool,
}

/// # Errors
/// `Invalid` for a place, query or checkpoint that is not there; `Fenced` where a server is at work; `Unavailable`.
pub(super) async fn run(args: StateArgs) -> Result<ExitCode> {
    let place = match &args.command {
        StateCommand::List(args) => &args.place,
        StateCommand::Show(args) => &args.place,
        StateCommand::Verify(args) => &args.place,
        StateCommand::Drop(args) => &args.place,
        StateCommand::Fork(args) => &args.place,
        StateCommand::Answer(args) => &args.place,
    };
    let stores = match Stores::of(place) {
        Ok(stores) => stores,
        Err(errors) => return Ok(fail_all(errors)),
    };
    match &args.command {
        StateCommand::List(args) => list(&stores, args).await,
        StateCommand::Show(args) => show(&stores, args).await,
        StateCommand::Verify(args) => verify_all(&stores, args).await,
        StateCommand::Drop(args) => drop_some(&stores, args).await,
        StateCommand::Fork(args) => fork(&stores, args).await,
        StateCommand::Answer(args) => answer_one(&stores, args).await,
    }
}

/// The places of a configuration.
pub(super) struct Stores {
    pub(super) config: Config,
    state_url: String,
    /// `None` where the state's alone was given: then nobody knows.
    tables_url: Option<String>,
}

impl Stores {
    pub(super) fn of(place: &Place) -> Result<Self, Vec<Error>> {
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists());
        let file = place.config.clone().or_else(default);
        let config = Config::load(file.as_deref(), &environment())?;
        let known = place.state_url.is_none() || place.config.is_some();
        let tables_url = place.tables_url.clone().or_else(|| known.then(|| config.tables_url()));
        let state_url = place.state_url.clone().unwrap_or_else(|| config.state_url());
        Ok(Stores { config, state_url, tables_url })
    }

    pub(super) async fn private(&self) -> Result<Store> {
        Store::look_into(&self.state_url, &self.config.s3).await
    }

    /// `None` where it is not known, or there is nothing yet.
    async fn public(&self) -> Result<Option<Store>> {
        let Some(url) = &self.tables_url else { return Ok(None) };
        match Store::look_into(url, &self.config.s3).await {
            Ok(store) => Ok(Some(store)),
            Err(error)
                if error.kind() == ErrorKind::Invalid && error.primary().starts_with("there is no directory") =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

async fn list(stores: &Stores, args: &ListArgs) -> Result<ExitCode> {
    let chains = find_chains(&stores.private().await?).await?;
    print(args.output, &rows::of_chains(&chains, Clock::System.now())?)?;
    if chains.is_empty() {
        tell(&format!("there are no checkpoints in {}", stores.state_url));
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(stores: &Stores, args: &ShowArgs) -> Result<ExitCode> {
    let private = stores.private().await?;
    let chain = find_chain(&private, &args.view).await?;
    let manifest = find_checkpoint(&private, &chain, args.checkpoint).await?;
    let meaning = definition_of(&private, &manifest).await.unwrap_or_else(|error| {
        tell(&format!("cannot be read: {}", error.report()));
        None
    });
    print(args.output, &rows::of_checkpoint(&manifest, meaning.as_deref())?)?;
    tell_unread(&chain);
    Ok(ExitCode::SUCCESS)
}

async fn verify_all(stores: &Stores, args: &VerifyArgs) -> Result<ExitCode> {
    let (private, public) = (stores.private().await?, stores.public().await?);
    let chains = match &args.view {
        Some(view) => vec![find_chain(&private, view).await?],
        None => find_chains(&private).await?,
    };
    let mut findings = Vec::new();
    for chain in &chains {
        let verified = verify(&private, public.as_ref(), chain).await?;
        let newest = verified.whole().last().map_or_else(|| "none".to_owned(), u64::to_string);
        tell(&format!(
            "{}: {} checkpoints, {} objects, {} bytes read; {} damaged or missing; newest whole checkpoint: {newest}",
            chain.name,
            verified.checkpoints.len(),
            verified.read,
            verified.bytes,
            verified.findings.len()
        ));
        findings.extend(verified.findings.into_iter().map(|finding| (chain.name.clone(), finding)));
    }
    if public.is_none() {
        tell("public files are not looked at: name their place with --tables-url or --config");
    }
    print(args.output, &rows::of_findings(&findings)?)?;
    match findings.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::from(ErrorKind::Corrupt.exit_code())),
    }
}

async fn drop_some(stores: &Stores, args: &DropArgs) -> Result<ExitCode> {
    let private = stores.private().await?;
    let chain = find_chain(&private, &args.view).await?;
    let Some(from) = args.from else { return drop_all(&private, &chain, args).await };
    let public = stores.public().await?.ok_or_else(|| {
        Error::invalid("the place of the public tables is not known, or is not there")
            .detail("files of the checkpoints that are given up have to leave it, or their rows would be there twice")
            .hint("name it with --tables-url or --config")
    })?;
    let plan = plan_drop(&private, &public, &chain, from).await?;
    tell(&format!(
        "query {:?} goes on from checkpoint {}, written {}, as checkpoint {}",
        args.view,
        plan.base.id,
        rows::moment(plan.base.created_at),
        plan.new_id
    ));
    tell(&format!("given up: checkpoints {}", ranges(&plan.gone)));
    for (source, state) in &plan.base.sources {
        let offsets: Vec<String> = state.offsets.iter().map(|(at, of)| format!("{at}: {}", of.next)).collect();
        tell(&format!("read again: {source} from offset {}", offsets.join(", ")));
    }
    tell(&format!("{} public files move to the state store, since their rows come again", plan.set_aside.len()));
    plan.set_aside.iter().take(LISTED_MAX).for_each(|file| tell(&format!("  {file}")));
    if plan.set_aside.len() > LISTED_MAX {
        tell(&format!("  … and {} more", plan.set_aside.len() - LISTED_MAX));
    }
    tell(
        "a hot table in Postgres that has rows of them is of another history from then on, and is left as it is: drop that table, and the \
         server makes it anew",
    );
    if !args.act.yes {
        tell("nothing is changed; --yes does it");
        return Ok(ExitCode::SUCCESS);
    }
    refuse_at_work(&private, args.act.take_over).await?;
    let by = Generation::claim(&private).await?;
    plan.carry_out(&private, &public, by, Clock::System.now()).await?;
    tell("done");
    Ok(ExitCode::SUCCESS)
}

async fn drop_all(private: &Store, chain: &FoundChain, args: &DropArgs) -> Result<ExitCode> {
    tell(&format!(
        "all checkpoints of query {:?} are given up, with all state: {} objects, {} bytes",
        args.view, chain.objects, chain.bytes
    ));
    tell(
        "its public files stay, and so does its hot table in Postgres; a view that runs under this name begins anew, and writes to neither \
         before the files and the table have been moved away; files that `state drop --from` has moved here are deleted; \
         give up the queries that read it as a view as well, they would miss rows of it",
    );
    if !args.act.yes {
        tell("nothing is changed; --yes does it");
        return Ok(ExitCode::SUCCESS);
    }
    refuse_at_work(private, args.act.take_over).await?;
    // A server that runs all the same looks after its checkpoints once there is a newer claim, and finds them gone.
    Generation::claim(private).await?;
    let deleted = drop_whole(private, chain).await?;
    tell(&format!("done: {deleted} objects deleted"));
    Ok(ExitCode::SUCCESS)
}

async fn fork(stores: &Stores, args: &ForkArgs) -> Result<ExitCode> {
    let private = stores.private().await?;
    let chain = find_chain(&private, &args.view).await?;
    let manifest = find_checkpoint(&private, &chain, args.checkpoint).await?;
    let plan = plan_fork(&private, manifest, &args.name).await?;
    tell(&format!(
        "view {:?} goes on from checkpoint {} of {:?}, written {}, if its statement and tables mean the same",
        args.name,
        plan.from.id,
        args.view,
        rows::moment(plan.from.created_at)
    ));
    tell(&format!(
        "{} objects with state are copied; results until then stay with {:?}",
        plan.objects.len(),
        args.view
    ));
    if !args.act.yes {
        tell("nothing is changed; --yes does it");
        return Ok(ExitCode::SUCCESS);
    }
    refuse_at_work(&private, args.act.take_over).await?;
    let by = Generation::claim(&private).await?;
    let copied = plan.carry_out(&private, by, Clock::System.now()).await?;
    tell(&format!("done: {copied} bytes copied"));
    Ok(ExitCode::SUCCESS)
}

/// It takes nothing over: what is written is no checkpoint, and a server reads it.
async fn answer_one(stores: &Stores, args: &AnswerArgs) -> Result<ExitCode> {
    let private = stores.private().await?;
    let said = match args.answer {
        Some(Said::NewVersion) => Some(Answer::NewVersion),
        Some(Said::Keep) => Some(Answer::Keep),
        None => None,
    };
    let question = match said {
        Some(said) => Some(answer(&private, &args.view, said).await?),
        None => question_of(&private, &args.view).await?,
    };
    let Some(question) = question else {
        tell(&format!("nothing is asked about view {:?}", args.view));
        return Ok(ExitCode::SUCCESS);
    };
    tell(&format!(
        "view {:?} has come to mean something else than its checkpoints in {:?}:",
        args.view, question.before
    ));
    question.verdict.iter().for_each(|line| tell(&format!("  {line}")));
    tell(match question.answer {
        Some(Answer::NewVersion) => "answered: the new version begins",
        Some(Answer::Keep) => "answered: the version before runs on",
        None => "nobody has answered: the version before runs on; name new-version or keep",
    });
    Ok(ExitCode::SUCCESS)
}

/// A server that runs would be turned away in the middle of its work, or would go on with what has just been given up.
async fn refuse_at_work(private: &Store, take_over: bool) -> Result<()> {
    if take_over {
        return Ok(());
    }
    let why = match private.open_elsewhere() {
        // A directory tells exactly.
        Some(0) => return Ok(()),
        Some(others) => format!("{others} others have {} open", private.url()),
        None => {
            let newest =
                find_chains(private).await?.into_iter().filter_map(|chain| Some(chain.newest?.created_at)).max();
            let age = newest.map(|at| duration_of(Clock::System.now().saturating_sub(at)));
            match age.filter(|age| *age < AT_WORK_WITHIN) {
                Some(age) => format!("the newest checkpoint is {} s old", age.as_secs()),
                None => return Ok(()),
            }
        }
    };
    Err(Error::fenced("a server seems to be at work on these checkpoints")
        .detail(why)
        .hint("stop it first; --take-over does it all the same, and that server ends with exit code 78"))
}

fn tell_unread(chain: &FoundChain) {
    for (_, error) in &chain.unread {
        tell(&format!("cannot be read: {}", error.report()));
    }
}

fn print(output: OutputFormat, batch: &RecordBatch) -> Result<()> {
    write_rows(&mut StandardOutput::lock(), output, batch.schema(), std::slice::from_ref(batch))
}
