//! Shapes that need state, and the operators that they become. One file a shape.

pub(super) mod window;
