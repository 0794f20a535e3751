//! What panicked, and where: one line in the log, and an error for whoever has to go on without it.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo};

use futures::FutureExt;
use tracing::error;

use crate::error::{Error, Result};

thread_local! {
    /// Where this thread has panicked last. A panic is caught on the thread that it happened on.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on each panic of the process is one line in the log, with file and line, and with a backtrace where `RUST_BACKTRACE` asks for it.
pub fn tell() {
    std::panic::set_hook(Box::new(hook));
}

fn hook(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    error!(place, thread, backtrace, "panic: {}", words(panic.payload()));
    // Where the thread ends, nobody asks any more.
    let _ = PLACE.try_with(|at| *at.borrow_mut() = Some(place));
}

/// Runs `work` to its end; a panic is an error of kind `Bug`. `what`: the subject of its sentence.
///
/// # Errors
/// Those of `work`.
pub async fn caught<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => Err(as_error(what, panic.as_ref())),
    }
}

fn as_error(what: &str, panic: &(dyn Any + Send)) -> Error {
    let error = Error::bug(format!("{what} panicked: {}", words(panic)));
    match PLACE.take() {
        Some(place) => error.detail(format!("at {place}")),
        None => error,
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    words.unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn a_panic_is_an_error_and_an_error_stays_what_it_is() {
        let error = caught::<()>("the query", async { panic!("at row {}", 7) }).await.expect_err("panicked");
        assert_eq!((error.kind(), error.primary()), (ErrorKind::Bug, "the query panicked: at row 7"));
        let gone = caught::<()>("the query", async { Err(Error::unavailable("gone")) }).await.expect_err("failed");
        assert_eq!((gone.kind(), gone.primary()), (ErrorKind::Unavailable, "gone"));
    }
}
