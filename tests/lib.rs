//! Test helpers live in `it/`; this library is empty so that the package can hold one integration binary.
