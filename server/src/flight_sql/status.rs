//! From our errors to gRPC's codes: what a client may do about it, and the text for its user.

use tonic::{Code, Status};

use super::statement::StatementError;
use crate::error::{Error, ErrorKind};

/// Bytes of a message: it travels in a header, and clients limit those.
const MESSAGE_BYTES_MAX: usize = 3 * 1024;

pub fn status(error: impl Into<StatementError>) -> Status {
    match error.into() {
        StatementError::Failed(error) => with_text(code(error.kind()), &error),
        StatementError::NotFound(error) => with_text(Code::NotFound, &error),
        StatementError::Unsupported(error) => with_text(Code::Unimplemented, &error),
        stopped @ StatementError::Cancelled => Status::cancelled(stopped.to_string()),
        stopped @ StatementError::TimedOut => Status::deadline_exceeded(stopped.to_string()),
    }
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::OverBudget => Code::ResourceExhausted,
        ErrorKind::Fenced => Code::FailedPrecondition,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Bug => Code::Internal,
    }
}

fn with_text(code: Code, error: &Error) -> Status {
    let mut text = error.report();
    if text.len() > MESSAGE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
        text.push('…');
    }
    Status::new(code, text)
}
