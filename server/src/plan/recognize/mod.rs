//! Shapes that need an operator, and what they become. One file a shape.

pub(super) mod asof;
pub(super) mod distinct;
pub(super) mod interval;
pub(super) mod lookup;
pub(super) mod over;
pub(super) mod session;
pub(super) mod set_operation;
pub(super) mod window;
