//! Points keep what they are given, and are written as they were before names were shared.

use proptest::prelude::*;
use smallvec::SmallVec;

use super::*;

/// A point as it was written to spills before names were shared.
#[derive(Serialize, Deserialize)]
struct Former {
    measurement: Arc<str>,
    labels: Labels,
    time: EventTime,
    fields: SmallVec<[(Arc<str>, f64); 6]>,
    is_correction: bool,
}

fn pairs(fields: &Fields) -> Vec<(String, u64)> {
    fields.iter().map(|(name, number)| (name.to_owned(), number.to_bits())).collect()
}

proptest! {
    /// Of every number of fields, of which five fit into the point, and every number, NaN too.
    #[test]
    fn what_was_written_before_names_were_shared_is_read_and_the_other_way_round(
        fields in prop::collection::vec(("\\PC{0,9}", prop::num::f64::ANY), 0..9),
        is_correction: bool,
    ) {
        let (measurement, labels) = ("cpu".into(), Labels::from_pairs([("host", "web-1")]));
        let time = EventTime::from_millis(1_795_376_400_000);
        let former = Former {
            measurement: Arc::clone(&measurement),
            labels: labels.clone(),
            time,
            fields: fields.iter().map(|(name, number)| (name.as_str().into(), *number)).collect(),
            is_correction,
        };
        let fields = fields.into_iter().collect();
        let point = MetricPoint { measurement, labels, time, fields, is_correction };

        let bytes = postcard::to_allocvec(&former).unwrap();
        prop_assert_eq!(&postcard::to_allocvec(&point).unwrap(), &bytes);
        let (read, rest): (MetricPoint, _) = postcard::take_from_bytes(&bytes).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(pairs(&read.fields), pairs(&point.fields));
        prop_assert_eq!((&read.measurement, &read.labels), (&point.measurement, &point.labels));
        prop_assert_eq!((read.time, read.is_correction), (time, is_correction));
        let back: Former = postcard::from_bytes(&bytes).unwrap();
        let back: Fields = back.fields.into_iter().collect();
        prop_assert_eq!(pairs(&back), pairs(&point.fields));
    }

    /// Numbers without a name and names without a number are left out.
    #[test]
    fn names_and_numbers_are_paired_as_far_as_both_go(names in 0..9usize, numbers in 0..9usize) {
        let name = |i: usize| format!("f{i}");
        let shared = FieldNames::new((0..names).map(name));
        let fields = Fields::new(shared.clone(), (0..numbers).map(|i| i as f64));
        let expected: Fields = (0..names.min(numbers)).map(|i| (name(i), i as f64)).collect();
        prop_assert_eq!(fields.len(), names.min(numbers));
        prop_assert_eq!(fields.is_empty(), names.min(numbers) == 0);
        prop_assert_eq!(&fields, &expected);
        prop_assert_eq!(fields.get("f3"), (names.min(numbers) > 3).then_some(3.0));
        prop_assert_eq!(shared.len(), names);
    }
}

#[test]
fn fields_are_equal_when_names_and_numbers_are() {
    let fields = |pairs: &[(&str, f64)]| pairs.iter().copied().collect::<Fields>();
    let one = fields(&[("mean", 1.0), ("max", 2.0)]);
    assert_eq!(one, one.clone());
    assert_eq!(one, fields(&[("mean", 1.0), ("max", 2.0)]), "of names that are not shared");
    assert_ne!(one, fields(&[("max", 1.0), ("mean", 2.0)]));
    assert_ne!(one, fields(&[("mean", 1.0), ("max", 3.0)]));
    assert_ne!(one, fields(&[("mean", 1.0)]));
    let nan = fields(&[("mean", f64::NAN)]);
    assert_ne!(nan, nan.clone(), "as numbers are");
    assert_eq!(format!("{one:?}"), r#"[("mean", 1.0), ("max", 2.0)]"#);
}

#[test]
fn a_sequence_that_ends_early_is_refused() {
    let bytes = postcard::to_allocvec(&[("mean", 1.0)].into_iter().collect::<Fields>()).unwrap();
    for end in 0..bytes.len() {
        assert!(postcard::from_bytes::<Fields>(&bytes[..end]).is_err());
    }
    // So many are announced that no memory holds them.
    assert!(postcard::from_bytes::<Fields>(&[0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
}
