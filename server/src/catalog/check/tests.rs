//! Each relation at its boundaries, by value and by array.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Float32Array, Int32Array, StringViewArray, UInt64Array};
use proptest::prelude::*;

use super::*;

fn shown(constants: &[i128]) -> Vec<String> {
    constants.iter().map(i128::to_string).collect()
}

fn whole(relation: Relation, constants: &[i128]) -> Check {
    Check::of_value(relation, Constants::Whole(constants.to_vec()), &shown(constants))
}

fn text(relation: Relation, constants: &[&str]) -> Check {
    let shown: Vec<String> = constants.iter().map(|one| format!("'{one}'")).collect();
    Check::of_value(relation, Constants::Text(constants.iter().map(|one| one.as_bytes().into()).collect()), &shown)
}

#[test]
fn each_relation_holds_up_to_its_boundary() {
    for (relation, constants, passing, says) in [
        (Relation::OneOf, &[3, 1][..], &[1, 3][..], "one of 3, 1"),
        (Relation::OneOf, &[3], &[3], "3"),
        (Relation::Not, &[3], &[0, 1, 2, 4, 5], "not 3"),
        (Relation::AtLeast, &[3], &[3, 4, 5], "at least 3"),
        (Relation::Above, &[3], &[4, 5], "above 3"),
        (Relation::AtMost, &[3], &[0, 1, 2, 3], "at most 3"),
        (Relation::Below, &[3], &[0, 1, 2], "below 3"),
        (Relation::Between, &[1, 3], &[1, 2, 3], "between 1 and 3"),
    ] {
        let check = whole(relation, constants);
        assert_eq!(check.says(), says);
        let found: Vec<i128> = (0..=5).filter(|value| check.whole_passes(*value)).collect();
        assert_eq!(found, passing, "{relation:?}");
    }
}

#[test]
fn texts_are_compared_by_their_bytes_and_counted_in_characters() {
    assert!(text(Relation::AtLeast, &["b"]).text_passes("b".as_bytes()));
    assert!(!text(Relation::AtLeast, &["b"]).text_passes("aß".as_bytes()));
    assert!(text(Relation::Above, &["b"]).text_passes("ba".as_bytes()));
    assert!(text(Relation::Above, &["Z"]).text_passes("a".as_bytes()));
    let three = Check::of_length(Relation::OneOf, vec![3], &shown(&[3]));
    assert_eq!(three.says(), "length 3");
    for (value, passes) in [("abc", true), ("", false), ("äöü", true), ("⚽😀", false), ("⚽😀é", true), ("äö", false)]
    {
        assert_eq!(three.text_passes(value.as_bytes()), passes, "{value}");
    }
}

#[test]
fn a_uuid_is_five_groups_of_hexadecimal_digits() {
    let check = Check::uuid();
    for (value, passes) in [
        ("00000000-0000-0000-0000-000000000000", true),
        ("0f9ea7d6-41bE-4c0f-A1b2-99aaffAAFF00", true),
        ("", false),
        ("0f9ea7d6-41be-4c0f-a1b2-99aaff00112", false),
        ("0f9ea7d6-41be-4c0f-a1b2-99aaff0011223", false),
        ("0f9ea7d641be-4c0f-a1b2--99aaff001122", false),
        ("0f9ea7d6-41be-4c0f-a1b2-99aaff00112g", false),
        ("0f9ea7d6-41be-4c0f-a1b2-99aaff00112@", false),
        ("0f9ea7d6-41be-4c0f-a1b2-99aaff001`22", false),
        ("0f9ea7d6-41be-4c0f-a1b2-99aaff00/122", false),
        ("0f9ea7d6-41be-4c0f-a1b2-99aaff0011:2", false),
        ("0f9ea7d6041be04c0f0a1b2099aaff001122", false),
        ("{f9ea7d6-41be-4c0f-a1b2-99aaff00112}", false),
        ("0f9ea7d6-41be-4c0f-a1b2-99aaff0011é", false),
    ] {
        assert_eq!(check.text_passes(value.as_bytes()), passes, "{value}");
    }
}

#[test]
fn a_long_list_is_cut_where_it_is_shown_and_whole_where_it_is_asked() {
    let constants: Vec<i128> = (0..500).map(|one| one * 2).collect();
    let check = whole(Relation::OneOf, &constants);
    assert!((-1..1_001).all(|value| check.whole_passes(value) == (value % 2 == 0 && (0..1_000).contains(&value))));
    assert!(check.says().starts_with("one of 0, 2, 4, 6"), "{}", check.says());
    assert!(check.says().ends_with(", …") && check.says().len() < 140, "{}", check.says());

    let reals = Check::of_value(Relation::OneOf, Constants::Real((0..20).map(f64::from).collect()), &shown(&[0]));
    assert!(reals.real_passes(19.0) && !reals.real_passes(19.5) && !reals.real_passes(f64::NAN));
}

#[test]
fn not_a_number_is_in_no_range() {
    let real = |relation| Check::of_value(relation, Constants::Real(vec![1.0]), &shown(&[1]));
    assert!(real(Relation::Not).real_passes(f64::NAN));
    for relation in [Relation::OneOf, Relation::AtLeast, Relation::AtMost, Relation::Above, Relation::Below] {
        assert!(!real(relation).real_passes(f64::NAN), "{relation:?}");
    }
}

#[test]
fn rows_of_an_array_are_judged_as_values_are_and_null_passes() {
    let check = whole(Relation::Between, &[1, 3]);
    let arrays: [ArrayRef; 4] = [
        Arc::new(Int32Array::from(vec![Some(0), Some(1), None, Some(4), Some(3)])),
        Arc::new(UInt64Array::from(vec![Some(u64::MAX), Some(1), None, Some(4), Some(3)])),
        Arc::new(Decimal128Array::from(vec![Some(0), Some(1), None, Some(4), Some(3)])),
        Arc::new(Date32Array::from(vec![Some(-1), Some(1), None, Some(4), Some(3)])),
    ];
    for array in arrays {
        assert_eq!(check.refused(&array), [0, 3], "{}", array.data_type());
    }
    let reals = Float32Array::from(vec![Some(0.1), None, Some(0.2)]);
    let check = Check::of_value(Relation::AtMost, Constants::Real(vec![f64::from(0.1f32)]), &shown(&[0]));
    assert_eq!(check.refused(&reals), [2]);
    let texts = StringViewArray::from(vec![Some("a"), None, Some("a value of more than twelve bytes"), Some("")]);
    assert_eq!(text(Relation::OneOf, &["a", "b"]).refused(&texts), [2, 3]);
    assert_eq!(Check::uuid().refused(&texts), [0, 2, 3]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_list_finds_what_it_holds(
        list in prop::collection::vec("[ab⚽]{0,3}", 1..40),
        values in prop::collection::vec("[ab⚽]{0,3}", 20),
    ) {
        let check = text(Relation::OneOf, &list.iter().map(String::as_str).collect::<Vec<_>>());
        for value in values {
            prop_assert_eq!(check.text_passes(value.as_bytes()), list.contains(&value), "{}", value);
        }
    }
}
