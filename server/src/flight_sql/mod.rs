//! The reading door: Arrow Flight SQL on arrow-flight's `FlightService`.

pub mod guard;
pub mod session;
pub mod wire;
