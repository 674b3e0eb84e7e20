//! Recommended e-commerce events: a closed schema per event name, and what each does to the user.
//!
//! An event that breaks its schema is dropped and named in `errors`. Source: "eCommerce events",
//! Braze documentation, read 2026-09.

use super::identifier::Reason;
use super::user::User;
use isthmus_core::json;
use serde_json::Value;

/// One of the six names; any other spelling is an ordinary custom event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recommended {
    ProductViewed,
    CartUpdated,
    CheckoutStarted,
    OrderPlaced,
    OrderCancelled,
    OrderRefunded,
}

use Recommended::{
    CartUpdated, CheckoutStarted, OrderCancelled, OrderPlaced, OrderRefunded, ProductViewed,
};

/// What a property holds.
#[derive(Debug, Clone, Copy)]
enum Holds {
    Text,
    Currency,
    Number,
    Amount,
    Integer,
    Object,
    Array,
    Products,
    OneOf(&'static [&'static str]),
    ListOf(&'static [&'static str]),
}

/// A property: its name, what it holds, the events that must have it and those that may.
struct Property(&'static str, Holds, &'static [Recommended], &'static [Recommended]);

const ALL: &[Recommended] =
    &[ProductViewed, CartUpdated, CheckoutStarted, OrderPlaced, OrderCancelled, OrderRefunded];
const BUT_VIEWED: &[Recommended] =
    &[CartUpdated, CheckoutStarted, OrderPlaced, OrderCancelled, OrderRefunded];
const BUT_CART: &[Recommended] = &[CheckoutStarted, OrderPlaced, OrderCancelled, OrderRefunded];
const BEFORE_REFUND: &[Recommended] = &[CartUpdated, CheckoutStarted, OrderPlaced, OrderCancelled];
const ORDERS: &[Recommended] = &[OrderPlaced, OrderCancelled, OrderRefunded];

const PROPERTIES: &[Property] = &[
    Property("currency", Holds::Currency, ALL, &[]),
    Property("source", Holds::Text, ALL, &[]),
    Property("products", Holds::Products, BUT_VIEWED, &[]),
    // In a cart it is required unless `action` adds or removes.
    Property("total_value", Holds::Amount, BUT_CART, &[CartUpdated]),
    Property("cart_id", Holds::Text, &[CartUpdated], &[CheckoutStarted, OrderPlaced]),
    Property("checkout_id", Holds::Text, &[CheckoutStarted], &[]),
    Property("order_id", Holds::Text, ORDERS, &[]),
    Property("cancel_reason", Holds::Text, &[OrderCancelled], &[]),
    Property("action", Holds::OneOf(&["add", "remove", "replace"]), &[], &[CartUpdated]),
    Property("subtotal_value", Holds::Number, &[], BEFORE_REFUND),
    Property("tax", Holds::Number, &[], BEFORE_REFUND),
    Property("shipping", Holds::Number, &[], BEFORE_REFUND),
    Property("total_discounts", Holds::Number, &[], ORDERS),
    Property("discounts", Holds::Array, &[], ORDERS),
    Property("product_id", Holds::Text, &[ProductViewed], &[]),
    Property("product_name", Holds::Text, &[ProductViewed], &[]),
    Property("variant_id", Holds::Text, &[ProductViewed], &[]),
    Property("price", Holds::Number, &[ProductViewed], &[]),
    Property("image_url", Holds::Text, &[], &[ProductViewed]),
    Property("product_url", Holds::Text, &[], &[ProductViewed]),
    Property("type", Holds::ListOf(&["price_drop", "back_in_stock"]), &[], &[ProductViewed]),
    Property("metadata", Holds::Object, &[], ALL),
];

/// Members of each product: name, what it holds, whether it is required.
const PRODUCT: &[(&str, Holds, bool)] = &[
    ("product_id", Holds::Text, true),
    ("product_name", Holds::Text, true),
    ("variant_id", Holds::Text, true),
    ("quantity", Holds::Integer, true),
    ("price", Holds::Number, true),
    ("image_url", Holds::Text, false),
    ("product_url", Holds::Text, false),
    ("metadata", Holds::Object, false),
];

impl Recommended {
    /// The event with exactly this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("ecommerce.")? {
            "product_viewed" => ProductViewed,
            "cart_updated" => CartUpdated,
            "checkout_started" => CheckoutStarted,
            "order_placed" => OrderPlaced,
            "order_cancelled" => OrderCancelled,
            "order_refunded" => OrderRefunded,
            _ => return None,
        })
    }

    /// Checks the raw `properties` object against the schema.
    pub(crate) fn check(self, properties: &str) -> Result<(), Reason> {
        let properties = if properties.is_empty() { "{}" } else { properties };
        for (name, raw) in json::members(properties) {
            let known = PROPERTIES.iter().find(|Property(known, _, required, optional)| {
                *known == name && (required.contains(&self) || optional.contains(&self))
            });
            let Some(Property(_, holds, ..)) = known else {
                return Err(Reason::Owned(format!("extra_property: '{name}'")));
            };
            holds.check(&name, raw)?;
        }
        let has = |name| json::member(properties, name).is_some_and(|raw| raw != "null");
        let missing = |name: &str| Reason::Owned(format!("missing_property: '{name}'"));
        for Property(name, _, required, _) in PROPERTIES {
            if required.contains(&self) && !has(name) {
                return Err(missing(name));
            }
        }
        let action = json::member(properties, "action");
        let changes_cart = matches!(action, Some("\"add\"" | "\"remove\""));
        if self == CartUpdated && !changes_cart && !has("total_value") {
            return Err(missing("total_value"));
        }
        Ok(())
    }

    /// What the event does besides being counted. Amounts are added up whatever their currency.
    pub(crate) fn apply(self, user: &mut User, properties: &str) {
        let total = json::member(properties, "total_value").and_then(|raw| raw.parse::<f64>().ok());
        let total = total.unwrap_or(0.0);
        match self {
            ProductViewed | CheckoutStarted => {}
            OrderPlaced => {
                user.revenue += total;
                user.orders += 1;
            }
            OrderCancelled => user.orders -= 1,
            OrderRefunded => {
                user.revenue -= total;
                user.refunds += total;
            }
            CartUpdated => {
                let id = json::member(properties, "cart_id").and_then(json::text_of);
                let cart = serde_json::from_str::<Value>(properties);
                if let (Some(id), Ok(cart)) = (id, cart) {
                    update_cart(user.carts.entry(id.into_owned()).or_default(), cart);
                }
            }
        }
    }
}

/// Replaces the cart, or adds or removes products by variant, as `action` says.
fn update_cart(cart: &mut Value, update: Value) {
    let action = update.get("action").and_then(Value::as_str);
    let sign = match action {
        Some("add") => 1,
        Some("remove") => -1,
        _ => {
            *cart = update;
            return;
        }
    };
    let changed = update.get("products").and_then(Value::as_array).cloned().unwrap_or_default();
    let products = cart.get("products").and_then(Value::as_array).cloned();
    let mut products = products.unwrap_or_default();
    let quantity = |product: &Value| product.get("quantity").and_then(Value::as_i64).unwrap_or(0);
    for product in changed {
        let same = |known: &&mut Value| known.get("variant_id") == product.get("variant_id");
        match products.iter_mut().find(same) {
            Some(known) => {
                let left = quantity(known).saturating_add(sign * quantity(&product));
                if let Some(place) = known.get_mut("quantity") {
                    *place = Value::from(left.max(0));
                }
            }
            None if sign > 0 => products.push(product),
            None => {}
        }
    }
    products.retain(|product| quantity(product) > 0);
    let mut merged = update;
    if let Some(place) = merged.get_mut("products") {
        *place = Value::Array(products);
    }
    *cart = merged;
}

impl Holds {
    fn check(self, name: &str, raw: &str) -> Result<(), Reason> {
        let text = || json::text_of(raw);
        let number = || is_number(raw).then(|| raw.parse::<f64>().ok()).flatten();
        let fine = match self {
            Self::Text => text().is_some(),
            Self::Currency => text().is_some_and(|code| super::currency::is_known(&code)),
            Self::Number => number().is_some(),
            Self::Amount => number().is_some_and(|amount| amount >= 0.0),
            Self::Integer => is_number(raw) && raw.parse::<i64>().is_ok(),
            Self::Object => raw.starts_with('{'),
            Self::Array => raw.starts_with('['),
            Self::OneOf(known) => text().is_some_and(|text| known.contains(&text.as_ref())),
            Self::ListOf(known) => {
                let is_known = |raw| json::text_of(raw).is_some_and(|text| known.contains(&&*text));
                raw.starts_with('[') && json::elements(raw).all(is_known)
            }
            Self::Products => {
                return if raw.starts_with('[') {
                    json::elements(raw).try_for_each(check_product)
                } else {
                    Err(unexpected(name))
                };
            }
        };
        if fine { Ok(()) } else { Err(unexpected(name)) }
    }
}

fn unexpected(name: &str) -> Reason {
    Reason::Owned(format!("unexpected_data_type: '{name}'"))
}

fn is_number(raw: &str) -> bool {
    raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

fn check_product(product: &str) -> Result<(), Reason> {
    if !product.starts_with('{') {
        return Err(unexpected("products"));
    }
    for (name, raw) in json::members(product) {
        let Some((_, holds, _)) = PRODUCT.iter().find(|(known, ..)| *known == name) else {
            return Err(Reason::Owned(format!("extra_property: 'products.{name}'")));
        };
        holds.check(&name, raw)?;
    }
    for (name, _, required) in PRODUCT {
        if *required && json::member(product, name).is_none() {
            return Err(Reason::Owned(format!("missing_property: 'products.{name}'")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn product(quantity: i64) -> Value {
        json!({"product_id": "p", "product_name": "Pot", "variant_id": "v", "quantity": quantity, "price": 2.5})
    }

    fn order() -> Value {
        json!({"currency": "EUR", "source": "web", "products": [product(1)], "total_value": 2.5, "order_id": "o"})
    }

    fn with(mut value: Value, key: &str, member: Value) -> Value {
        value[key] = member;
        value
    }

    fn without(mut value: Value, key: &str) -> Value {
        value.as_object_mut().expect("an object").remove(key);
        value
    }

    fn check(name: &str, properties: &Value) -> Result<(), String> {
        let event = Recommended::of(name).expect("a recommended event");
        event.check(&properties.to_string()).map_err(Reason::into_owned)
    }

    #[test]
    fn complete_events_pass() {
        let viewed = json!({"currency": "EUR", "source": "web", "product_id": "p", "product_name": "Pot",
            "variant_id": "v", "price": 2.5, "type": ["price_drop"], "metadata": {"any": 1}});
        assert_eq!(check("ecommerce.product_viewed", &viewed), Ok(()));
        assert_eq!(check("ecommerce.order_placed", &order()), Ok(()));
        assert_eq!(check("ecommerce.order_refunded", &order()), Ok(()));
        let cancelled = with(order(), "cancel_reason", json!("late"));
        assert_eq!(check("ecommerce.order_cancelled", &cancelled), Ok(()));
        let checkout = with(without(order(), "order_id"), "checkout_id", json!("c"));
        assert_eq!(check("ecommerce.checkout_started", &checkout), Ok(()));
        let cart = with(without(order(), "order_id"), "cart_id", json!("c"));
        assert_eq!(check("ecommerce.cart_updated", &cart), Ok(()));
        let adding = with(without(cart, "total_value"), "action", json!("add"));
        assert_eq!(check("ecommerce.cart_updated", &adding), Ok(()));
    }

    #[test]
    fn broken_events_say_what_is_wrong() {
        let wrong_product = |product| with(order(), "products", json!([product]));
        for (properties, reason) in [
            (without(order(), "order_id"), "missing_property: 'order_id'"),
            (with(order(), "coupon", json!("x")), "extra_property: 'coupon'"),
            (with(order(), "cancel_reason", json!("x")), "extra_property: 'cancel_reason'"),
            (with(order(), "currency", json!("euro")), "unexpected_data_type: 'currency'"),
            (with(order(), "total_value", json!(-1)), "unexpected_data_type: 'total_value'"),
            (with(order(), "total_value", json!("1")), "unexpected_data_type: 'total_value'"),
            (with(order(), "products", json!({})), "unexpected_data_type: 'products'"),
            (wrong_product(json!(1)), "unexpected_data_type: 'products'"),
            (wrong_product(without(product(1), "price")), "missing_property: 'products.price'"),
            (
                wrong_product(with(product(1), "quantity", json!(1.5))),
                "unexpected_data_type: 'quantity'",
            ),
            (wrong_product(with(product(1), "sku", json!("x"))), "extra_property: 'products.sku'"),
        ] {
            assert_eq!(check("ecommerce.order_placed", &properties), Err(reason.to_owned()));
        }
        assert_eq!(Recommended::of("ecommerce.Order_Placed"), None);
    }

    #[test]
    fn orders_move_revenue_and_carts_follow_their_action() {
        let mut user = User::default();
        let mut apply = |name: &str, properties: &Value| {
            Recommended::of(name).expect("known").apply(&mut user, &properties.to_string());
        };
        apply("ecommerce.order_placed", &order());
        apply("ecommerce.order_placed", &order());
        apply("ecommerce.order_cancelled", &order());
        apply("ecommerce.order_refunded", &order());
        let cart = |action: &str, quantity| json!({"cart_id": "c", "action": action, "products": [product(quantity)]});
        apply("ecommerce.cart_updated", &cart("replace", 2));
        apply("ecommerce.cart_updated", &cart("add", 3));
        apply("ecommerce.cart_updated", &cart("remove", 1));
        assert_eq!((user.revenue, user.refunds, user.orders), (2.5, 2.5, 1));
        assert_eq!(user.carts["c"]["products"][0]["quantity"], json!(4));
    }
}
