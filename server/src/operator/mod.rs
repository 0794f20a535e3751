//! What DataFusion's own nodes cannot do when a plan is run again and again, once per epoch: keep something between two runs.
//!
//! [`contract`] says what a stateful operator is, [`logical`] and [`node`] are the two plan nodes that run any of them, and
//! [`epoch_cell`] is what they see of the running epoch. [`isolate`] finds the rows that an expression cannot take. Each folder beside them is one operator. Every operator drains all of its
//! inputs in every epoch, whatever it makes of them.

pub mod contract;
pub mod epoch_cell;
pub mod isolate;
pub mod logical;
pub mod lookup_join;
pub mod node;
pub mod once;
mod rows;
pub mod window;
