//! Shapes that need an operator, and what they become. One file a shape.

pub(super) mod interval;
pub(super) mod lookup;
pub(super) mod window;
