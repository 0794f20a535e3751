//! When two names are the same but for their spelling.

/// Appends `name` without the difference of capitals, in whichever script it is.
pub(crate) fn fold_case(name: &str, into: &mut String) {
    into.extend(name.chars().flat_map(char::to_lowercase));
}

/// `name` without the difference of capitals.
pub(crate) fn folded(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    fold_case(name, &mut folded);
    folded
}

/// Whether two names have the same letters and digits: `order_id`, `orderId` and `Order-ID`.
pub(crate) fn are_alike(one: &str, other: &str) -> bool {
    let letters = |name: &str| folded(name).chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    letters(one) == letters(other)
}
