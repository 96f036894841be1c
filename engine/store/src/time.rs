//! Points in time on the wire: microseconds since 2000-01-01, as Postgres sends a `timestamptz` in binary.

use dacapo_core::Timestamp;
use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef},
};

/// 2000-01-01T00:00:00Z, the epoch of Postgres, in microseconds since 1970.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The first value that Postgres refuses (year 294277); from here on a time is stored as `infinity`.
const POSTGRES_END_MICROS: i64 = 9_223_371_331_200_000_000;

/// `infinity` as Postgres sends it.
const INFINITY: i64 = i64::MAX;

/// A point in time as a `timestamptz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PgTime(pub(crate) Timestamp);

impl Type<Postgres> for PgTime {
    fn type_info() -> PgTypeInfo {
        <sqlx::types::chrono::DateTime<sqlx::types::chrono::Utc> as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for PgTime {
    fn array_type_info() -> PgTypeInfo {
        <sqlx::types::chrono::DateTime<sqlx::types::chrono::Utc> as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for PgTime {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.0.0.saturating_sub(POSTGRES_EPOCH_MICROS);
        let micros = if micros >= POSTGRES_END_MICROS { INFINITY } else { micros };
        buffer.extend_from_slice(&micros.to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for PgTime {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => {
                let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
                Ok(Self(Timestamp(micros.saturating_add(POSTGRES_EPOCH_MICROS))))
            }
            PgValueFormat::Text => Err("a point in time came as text; the store only asks for binary".into()),
        }
    }
}
