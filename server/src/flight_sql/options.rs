//! Session options of the Flight protocol: the messages that arrow-flight lacks, and the three options there are.

use std::collections::HashMap;

use super::auth::{Auth, Principal};
use super::shorthand::is_utc;
use crate::tables::catalog::{CATALOG, PUBLIC_SCHEMA, SYSTEM_SCHEMA};

#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionOptionValue {
    #[prost(oneof = "OptionValue", tags = "1, 2, 3, 4, 5")]
    pub value: Option<OptionValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OptionValue {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sfixed64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Texts(TextList),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TextList {
    #[prost(string, repeated, tag = "1")]
    pub values: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    pub session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub errors: HashMap<String, OptionError>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct OptionError {
    #[prost(enumeration = "OptionErrorKind", tag = "1")]
    pub value: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum OptionErrorKind {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
    Error = 3,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CloseSessionResult {
    #[prost(enumeration = "CloseStatus", tag = "1")]
    pub status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum CloseStatus {
    Unspecified = 0,
    Closed = 1,
    Closing = 2,
    NotCloseable = 3,
}

/// The options as the caller has them. Makes no session.
pub fn get(auth: &Auth, caller: &Principal) -> GetSessionOptionsResult {
    let text = |value: String| SessionOptionValue { value: Some(OptionValue::Text(value)) };
    GetSessionOptionsResult {
        session_options: HashMap::from([
            ("catalog".to_owned(), text(CATALOG.to_owned())),
            ("schema".to_owned(), text(auth.schema(caller))),
            ("time_zone".to_owned(), text("UTC".to_owned())),
        ]),
    }
}

/// Sets what can be set, and says for each of the rest why not.
pub fn set(auth: &Auth, caller: &Principal, request: SetSessionOptionsRequest) -> SetSessionOptionsResult {
    let mut errors = HashMap::new();
    for (name, value) in request.session_options {
        let text = match &value.value {
            Some(OptionValue::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let outcome = match (name.as_str(), text) {
            ("catalog", Some(CATALOG)) => Ok(()),
            ("schema", Some(schema @ (PUBLIC_SCHEMA | SYSTEM_SCHEMA))) => {
                // A caller without a token has no session to keep it in; what it already has is fine.
                let done = auth.set_schema(caller, schema) || schema == auth.schema(caller);
                if done { Ok(()) } else { Err(OptionErrorKind::Error) }
            }
            ("time_zone" | "timezone", Some(zone)) if is_utc(zone) => Ok(()),
            ("catalog" | "schema" | "time_zone" | "timezone", _) => Err(OptionErrorKind::InvalidValue),
            _ => Err(OptionErrorKind::InvalidName),
        };
        if let Err(kind) = outcome {
            errors.insert(name, OptionError { value: kind.into() });
        }
    }
    SetSessionOptionsResult { errors }
}

pub fn close(auth: &Auth, caller: &Principal) -> CloseSessionResult {
    let status = if auth.close_session(caller) { CloseStatus::Closed } else { CloseStatus::NotCloseable };
    CloseSessionResult { status: status.into() }
}
