//! Integer arithmetic for everything that reaches an answer: the same digits on every machine.
//!
//! Floating point logarithms differ between C libraries in the last place, and a last place can decide a tie.

use crate::model::MICRO;

/// Fractional bits of [`log2_micro`]'s intermediate: 2^-24 is a sixteenth of a micro-unit.
const FRACTION_BITS: u32 = 24;

/// Gives log2(`numerator` / `denominator`) in micro-units, for a ratio of at least 1.
///
/// Bit by bit: square the mantissa, and each time it passes 2 the next bit of the logarithm is one.
pub(crate) fn log2_micro(numerator: u64, denominator: u64) -> i64 {
    let denominator = u128::from(denominator.max(1));
    let numerator = u128::from(numerator).max(denominator);
    let whole = (numerator / denominator).ilog2();
    // The mantissa in [1, 2) with 62 fractional bits; its square fits in 126.
    let mut mantissa = (numerator << 62) / (denominator << whole);
    let mut result = u128::from(whole) << FRACTION_BITS;
    for bit in (0..FRACTION_BITS).rev() {
        mantissa = (mantissa * mantissa) >> 62;
        if mantissa >= 2 << 62 {
            mantissa >>= 1;
            result |= 1 << bit;
        }
    }
    i64::try_from((result * 1_000_000) >> FRACTION_BITS).unwrap_or(i64::MAX)
}

/// Gives `part` of `whole` in micro-units, 0 where there is no whole.
pub(crate) fn share(part: i64, whole: i64) -> i64 {
    if whole <= 0 {
        return 0;
    }
    i64::try_from(i128::from(part) * i128::from(MICRO) / i128::from(whole)).unwrap_or(MICRO)
}

/// Gives a count as a signed integer.
pub(crate) fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A text's terms as (term, times), in term order.
pub(crate) type Vector = Vec<(u32, u32)>;

/// Gives the length of a vector whose term weights are `idf`, in thousandths of idf.
pub(crate) fn norm(vector: &[(u32, u32)], idf: &[i64]) -> i64 {
    dot(vector, vector, idf).isqrt()
}

/// Gives the cosine of two vectors in micro-units.
pub(crate) fn cosine(a: &[(u32, u32)], b: &[(u32, u32)], idf: &[i64]) -> i64 {
    cosine_with(a, norm(a, idf), b, norm(b, idf), idf)
}

/// Gives the cosine of two vectors whose norms are known.
pub(crate) fn cosine_with(a: &[(u32, u32)], norm_a: i64, b: &[(u32, u32)], norm_b: i64, idf: &[i64]) -> i64 {
    let length = i128::from(norm_a) * i128::from(norm_b);
    if length == 0 {
        return 0;
    }
    let cosine = i128::from(dot(a, b, idf)) * i128::from(MICRO) / length;
    i64::try_from(cosine).unwrap_or(MICRO).min(MICRO)
}

fn dot(a: &[(u32, u32)], b: &[(u32, u32)], idf: &[i64]) -> i64 {
    let (mut i, mut j, mut sum) = (0, 0, 0_i64);
    while i < a.len() && j < b.len() {
        match a[i].0.cmp(&b[j].0) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                let weight = idf.get(a[i].0 as usize).copied().unwrap_or(0) / 1_000;
                let times = i64::from(a[i].1).saturating_mul(i64::from(b[j].1));
                sum = sum.saturating_add(weight.saturating_mul(weight).saturating_mul(times));
                i += 1;
                j += 1;
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn logarithms_of_powers_are_exact() {
        for n in 0..60 {
            assert_eq!(log2_micro(1 << n, 1), i64::from(n) * MICRO);
        }
        assert_eq!(log2_micro(10, 1), 3_321_928);
        assert_eq!(log2_micro(1, 10), 0);
    }

    proptest! {
        #[test]
        fn logarithms_agree_with_floating_point(a in 1_u64..1 << 40, b in 1_u64..1 << 20) {
            prop_assume!(a >= b);
            let expected = (a as f64 / b as f64).log2() * 1e6;
            prop_assert!((log2_micro(a, b) as f64 - expected).abs() <= 2.0);
        }

        #[test]
        fn a_cosine_lies_between_0_and_1_and_is_1_with_itself(v in prop::collection::btree_map(0_u32..20, 1_u32..9, 1..9)) {
            let idf: Vec<i64> = (1..=20).map(|n| n * 400_000).collect();
            let v: Vector = v.into_iter().collect();
            prop_assert!(cosine(&v, &v, &idf) >= MICRO - 5_000);
            let w: Vector = vec![(0, 1), (3, 2)];
            let c = cosine(&v, &w, &idf);
            prop_assert!((0..=MICRO).contains(&c) && c == cosine(&w, &v, &idf));
        }
    }
}
