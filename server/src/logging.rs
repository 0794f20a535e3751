//! The log: one event a line on standard error, for people or for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};
use crate::error::{Error, Result};
use crate::panics;

/// The variable that wins over `log.level`.
const VARIABLE: &str = "TOUCHLINE_LOG";

/// Starts logging for the rest of the process, of panics too. A second call changes nothing.
///
/// # Errors
/// `Invalid` where the level or the variable is not a filter.
pub fn start(settings: &LogSettings) -> Result<()> {
    let variable = std::env::var(VARIABLE).ok();
    let filter = filter(&settings.level, variable.as_deref())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Where standard error is gone, as with its terminal, the report of that would go there too, and panic: no stop would be orderly.
    let builder = builder.log_internal_errors(false);
    // A second start fails: in tests several servers share a process, and its log.
    let _ = match settings.format {
        LogFormat::Text => {
            let colours = colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
            builder.with_ansi(colours).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
    panics::tell();
    Ok(())
}

/// Colours are for people at a terminal who have not asked to do without: <https://no-color.org>.
pub fn colours(terminal: bool, no_color: Option<&std::ffi::OsStr>) -> bool {
    terminal && no_color.is_none_or(std::ffi::OsStr::is_empty)
}

fn filter(level: &str, variable: Option<&str>) -> Result<EnvFilter> {
    let (text, place) = match variable {
        Some(text) if !text.is_empty() => (text, VARIABLE),
        _ => (level, "log.level"),
    };
    EnvFilter::builder().parse(text).map_err(|error| {
        Error::invalid(format!("{place} \"{text}\" is not a log level"))
            .detail(error.to_string())
            .hint("write error, warn, info, debug or trace; per module as in \"info,touchline::source=debug\"")
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_variable_wins_over_the_file_and_both_are_checked() {
        let shown = |level, variable| {
            filter(level, variable).map(|filter| filter.to_string()).map_err(|e| e.primary().to_owned())
        };
        assert_eq!(shown("info", None).as_deref(), Ok("info"));
        assert_eq!(shown("info", Some("debug")).as_deref(), Ok("debug"));
        assert_eq!(shown("info", Some("")).as_deref(), Ok("info"));
        assert_eq!(
            shown("info,touchline=loud", None),
            Err("log.level \"info,touchline=loud\" is not a log level".to_owned())
        );
        assert_eq!(shown("info", Some("a=b=c")), Err("TOUCHLINE_LOG \"a=b=c\" is not a log level".to_owned()));
    }

    #[test]
    fn colours_are_off_when_piped_or_when_asked_to() {
        assert!(colours(true, None));
        assert!(colours(true, Some(OsStr::new(""))));
        assert!(!colours(true, Some(OsStr::new("1"))));
        assert!(!colours(false, None));
    }
}
