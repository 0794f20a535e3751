//! Our own physical operators: what DataFusion's cannot do when a plan is run again and again, once per epoch.
//!
//! Every operator drains its input in every epoch, whatever it makes of it.

pub mod lookup_join;
pub mod window;
