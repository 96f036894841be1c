//! Numbers with a fixed number of decimal places: integers in memory, decimals in JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One in micro-units.
pub const MICRO: i64 = 1_000_000;

/// An integer count of units of 10^-`PLACES`.
///
/// JSON shows `Decimal::<1>(79)` as `7.9`. Dividing by a power of ten and printing the shortest form that reads back is exact for
/// every value below 2^53, on every machine; larger values are refused on reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal<const PLACES: u32>(pub i64);

/// A share or confidence from 0 to 1.
pub type Share = Decimal<6>;

/// A score from 0 to 10 in tenths.
pub type Tenths = Decimal<1>;

/// A weighted score from 0 to 10 in thousandths.
pub type Points = Decimal<3>;

impl<const PLACES: u32> Decimal<PLACES> {
    /// How many units make one.
    pub const ONE: i64 = 10_i64.pow(PLACES);

    /// Makes the number of that many units.
    #[must_use]
    pub const fn new(units: i64) -> Self {
        Self(units)
    }
}

impl<const PLACES: u32> Serialize for Decimal<PLACES> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[expect(clippy::cast_precision_loss, reason = "values stay far below 2^53")]
        serializer.serialize_f64(self.0 as f64 / Self::ONE as f64)
    }
}

impl<'de, const PLACES: u32> Deserialize<'de> for Decimal<PLACES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        #[expect(clippy::cast_precision_loss, reason = "a power of ten up to 10^6 is exact")]
        let units = (value * Self::ONE as f64).round();
        // 2^53: beyond it neighbouring integers are not told apart.
        if !units.is_finite() || units.abs() > 9_007_199_254_740_992.0 {
            return Err(serde::de::Error::custom(format!("the number {value} is out of range")));
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked to be within 2^53")]
        Ok(Self(units as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenth_and_many_micros_survive_json() {
        for units in 0..=100 {
            let json = serde_json::to_string(&Decimal::<1>(units)).unwrap();
            assert_eq!(serde_json::from_str::<Decimal<1>>(&json).unwrap().0, units, "{json}");
        }
        for units in (0..=MICRO).step_by(97) {
            let json = serde_json::to_string(&Decimal::<6>(units)).unwrap();
            assert_eq!(serde_json::from_str::<Decimal<6>>(&json).unwrap().0, units, "{json}");
        }
        assert_eq!(serde_json::to_string(&Decimal::<1>(79)).unwrap(), "7.9");
        assert_eq!(serde_json::from_str::<Decimal<1>>("7").unwrap().0, 70);
        assert!(serde_json::from_str::<Decimal<1>>("1e300").is_err());
    }
}
