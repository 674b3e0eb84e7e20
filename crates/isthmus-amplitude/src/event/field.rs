//! The fields that Amplitude documents for an event, and the JSON shape each must have.

use crate::property::is_finite;
use crate::revenue;
use crate::scan::{Kind, Value};

/// What a field's value must look like; `null` always means that the field is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    /// Text, or a number, which counts as its decimal text.
    Id,
    /// A whole number within 64 bits, written without fraction and exponent.
    Integer,
    Number,
    Flag,
    /// An object within the limits of depth and width.
    Object,
    /// Whatever the client sent.
    Any,
}

impl Shape {
    /// Whether `value`, which is not null, has this shape.
    #[inline]
    pub(crate) fn admits(self, value: &Value<'_>) -> bool {
        match self {
            Self::Text => matches!(value.kind, Kind::Text { .. }),
            Self::Id => matches!(value.kind, Kind::Text { .. } | Kind::Number),
            Self::Integer => value.kind == Kind::Number && value.raw.parse::<i64>().is_ok(),
            Self::Number => {
                value.kind == Kind::Number && (!value.found.unclean || is_finite(value.raw))
            }
            Self::Flag => matches!(value.kind, Kind::Flag(_)),
            Self::Object => value.is_object_within_limits(),
            Self::Any => true,
        }
    }
}

/// Declares the fields once: variant, name on the wire, shape.
macro_rules! fields {
    ($($variant:ident $name:literal $shape:ident;)*) => {
        /// A documented field of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Field { $($variant),* }

        impl Field {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name on the wire.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            pub(crate) fn shape(self) -> Shape {
                match self { $(Self::$variant => Shape::$shape),* }
            }
        }
    };
}

fields! {
    EventType "event_type" Text;
    UserId "user_id" Id;
    DeviceId "device_id" Id;
    InsertId "insert_id" Id;
    Time "time" Integer;
    SessionId "session_id" Integer;
    EventId "event_id" Integer;
    SkipUserPropertiesSync "$skip_user_properties_sync" Flag;
    EventProperties "event_properties" Object;
    UserProperties "user_properties" Object;
    Groups "groups" Object;
    GroupProperties "group_properties" Object;
    GroupType "group_type" Any;
    GroupValue "group_value" Any;
    AppVersion "app_version" Text;
    VersionName "version_name" Text;
    Platform "platform" Text;
    OsName "os_name" Text;
    OsVersion "os_version" Text;
    DeviceBrand "device_brand" Text;
    DeviceManufacturer "device_manufacturer" Text;
    DeviceModel "device_model" Text;
    Carrier "carrier" Text;
    Country "country" Text;
    Region "region" Text;
    City "city" Text;
    Dma "dma" Text;
    Language "language" Text;
    Revenue "revenue" Number;
    Price "price" Number;
    Quantity "quantity" Integer;
    ProductId "productId" Text;
    RevenueType "revenueType" Text;
    Currency "currency" Text;
    Receipt "receipt" Text;
    ReceiptSig "receiptSig" Text;
    LocationLat "location_lat" Number;
    LocationLng "location_lng" Number;
    Ip "ip" Text;
    Idfa "idfa" Text;
    Idfv "idfv" Text;
    Adid "adid" Text;
    AndroidId "android_id" Text;
    AndroidAppSetId "android_app_set_id" Text;
    Library "library" Text;
    UserAgent "user_agent" Text;
    Plan "plan" Object;
    IngestionMetadata "ingestion_metadata" Object;
    PartnerId "partner_id" Text;
    Delay "delay" Object;
}

impl Field {
    /// The field called `name` on the wire.
    #[inline]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let candidate = BY_SLOT.get(slot(name.as_bytes())).copied().flatten();
        candidate.filter(|field: &Self| field.name() == name)
    }

    /// Its place in [`revenue::PROPERTIES`], if it is part of a revenue event.
    pub(crate) fn revenue_place(self) -> Option<usize> {
        let place = (self as usize).checked_sub(Self::Revenue as usize)?;
        (place < revenue::PROPERTIES.len()).then_some(place)
    }
}

const SLOTS: usize = 256;

/// Every field at the slot of its name. A `match` would compare with one name after the other,
/// and this runs for every member of every event.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const BY_SLOT: [Option<Field>; SLOTS] = {
    let mut slots = [None; SLOTS];
    let mut at = 0;
    while at < Field::ALL.len() {
        let field = Field::ALL[at];
        let slot = slot(field.name().as_bytes());
        assert!(slots[slot].is_none(), "two names share a slot: change the factors in `slot`");
        slots[slot] = Some(field);
        at += 1;
    }
    slots
};

/// A small number for `name`, from its length and three of its bytes. The factors were found by
/// trial, so that no two fields share a slot.
const fn slot(name: &[u8]) -> usize {
    let ([first, ..], [.., before, last]) = (name, name) else { return 0 };
    let sum =
        167 * name.len() + 249 * *first as usize + 238 * *before as usize + 27 * *last as usize;
    sum % SLOTS
}

/// A set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FieldSet(u64);

const _: () = assert!(Field::ALL.len() <= u64::BITS as usize);

impl FieldSet {
    pub(crate) fn contains(self, field: Field) -> bool {
        self.0 & 1 << field as u64 != 0
    }

    pub(crate) fn insert(&mut self, field: Field) {
        self.0 |= 1 << field as u64;
    }

    pub(crate) fn remove(&mut self, field: Field) {
        self.0 &= !(1 << field as u64);
    }

    /// Its members' names.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        Field::ALL.iter().filter(move |field| self.contains(**field)).map(|field| field.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_revenue_fields_match_their_properties() {
        for &field in Field::ALL {
            assert_eq!(Field::from_name(field.name()), Some(field));
            if let Some(place) = field.revenue_place() {
                assert_eq!(revenue::PROPERTIES[place], format!("${}", field.name()));
            }
        }
        assert_eq!(Field::ALL.iter().filter_map(|field| field.revenue_place()).count(), 8);
    }
}
