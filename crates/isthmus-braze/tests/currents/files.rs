//! Files as other programs write them, and files that are damaged.

use crate::container::{
    CODECS, Codec, Container, MARKER, push_long, push_record, push_text, schema,
};
use crate::events::{read_posted, read_stored, stored};
use insta::assert_snapshot;
use isthmus_braze::currents::{
    Broken, Fault, Form, Received, StorageReader, appear, catalogue, read_json_line,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Written by fastavro 1.13, with the fields of the catalogue and some more of other types.
const CLICK: &[u8] = include_bytes!("files/click.null.avro");
const PURCHASE: &[u8] = include_bytes!("files/purchase.deflate.avro");
const CUSTOM: &[u8] = include_bytes!("files/custom.snappy.avro");
const BANNER: &[u8] = include_bytes!("files/banner.zstandard.avro");

fn shown(event: &Received<'_>) -> String {
    let Received { event_type, id, time, properties, .. } = event;
    let who = [&event.external_user_id, &event.device_id, &event.timezone];
    let who = who.map(|id| id.as_deref().unwrap_or("-")).join(" ");
    let other = event.other.as_deref().unwrap_or("-");
    format!("{event_type} {id} {time} | {who} | {properties} | {other}")
}

/// What is in a file, one line each.
fn read(file: &[u8], event_type: Option<&str>) -> String {
    let reader = match StorageReader::open(file, event_type) {
        Ok(reader) => reader,
        Err(broken) => return broken.to_string(),
    };
    let lines = reader.map(|event| match event {
        Ok(event) => shown(&event),
        Err(Fault::Unusable(unusable)) => format!("unusable: {unusable}: {}", unusable.raw),
        Err(Fault::Broken(broken)) => broken.to_string(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn files_of_another_program_are_read() {
    assert_snapshot!(read(CLICK, None), @r#"
    users.messages.email.Click id-0 1767258000000 | customer-0 - - | {"email_address":"email_address 0","url":"https://shop.example/ö?x=0","esp":"SparkPost","is_suspected_bot_click":false,"suspected_bot_click_reason":[]} | -
    users.messages.email.Click id-1 1767258001000 | customer-1 - - | {"email_address":"email_address 1","url":"https://shop.example/ö?x=1","esp":"SparkPost","is_suspected_bot_click":false,"suspected_bot_click_reason":["datacenter_ip"]} | -
    users.messages.email.Click id-2 1767258002000 | customer-2 - - | {"email_address":"email_address 2","url":"https://shop.example/ö?x=2","esp":"SparkPost","is_suspected_bot_click":false,"suspected_bot_click_reason":["datacenter_ip","\"quoted\""]} | -
    "#);
    assert_snapshot!(read(PURCHASE, None), @r#"
    users.behaviors.Purchase id-0 1767258000000 | customer-0 d - | {"product_id":"SKU-123","price":19.99,"currency":"EUR","purchase_properties":{"size": "M", "gift": false}} | -
    users.behaviors.Purchase id-1 1767258001000 | customer-1 d - | {"product_id":"SKU-123","price":3.14,"currency":"EUR","purchase_properties":{}} | -
    users.behaviors.Purchase id-2 1767258002000 | customer-2 d - | {"product_id":"SKU-123","price":10000000000,"currency":"EUR","purchase_properties":"not json"} | -
    users.behaviors.Purchase id-3 1767258003000 | customer-3 d - | {"product_id":"SKU-123","price":-0.5,"currency":"EUR","purchase_properties":"[1]"} | -
    "#);
    assert_snapshot!(read(CUSTOM, None), @r#"
    users.behaviors.CustomEvent id-0 1767258000000 | customer-0 - - | {"name":"Trial Started","custom_properties":{"plan":"gold","n":12345678901234567890}} | {"properties":{"kind":"fancy","hash":"\u0000ÿ","raw":"aé","counts":{}}}
    users.behaviors.CustomEvent id-1 1767258001000 | customer-1 - - | {"name":"Trial Started","custom_properties":{"plan":"gold","n":12345678901234567890}} | {"properties":{"kind":"fancy","hash":"\u0000ÿ","raw":"aé","counts":{"a":-1},"place":{"lat":1.5,"inside":{"lat":-2.25,"inside":null}}}}
    "#);
    assert_snapshot!(read(BANNER, None), @r#"
    users.messages.banner.Click id-0 1767258000000 | customer-0 d Asia/Tokyo | {"platform":"ios","ad_id":"A","ad_id_type":"ios_idfa","canvas_step_message_variation_api_id":"v","is_unique":false} | {"properties":{"carrier":"c"}}
    users.messages.banner.Click id-1 1767258001000 | customer-1 d Asia/Tokyo | {"platform":"ios","ad_id":"A","ad_id_type":"ios_idfa","canvas_step_message_variation_api_id":"v","is_unique":true} | {"properties":{"carrier":"c"}}
    "#);
}

#[test]
fn own_properties_that_are_not_readable_are_told() {
    let unreadable = |file| {
        let events = StorageReader::open(file, None).unwrap().map(Result::unwrap);
        let told = events.map(|event| appear(&event, &Form::default()).own_properties_unreadable);
        told.collect::<Vec<_>>()
    };
    assert_eq!(unreadable(PURCHASE), [false, false, true, true]);
    assert_eq!(unreadable(CUSTOM), [false, false]);
}

#[test]
fn what_files_alone_have_is_shown_on_demand() {
    let banner = StorageReader::open(BANNER, None).unwrap().next().unwrap().unwrap();
    let properties = |form: &Form| -> Value {
        serde_json::from_str(&appear(&banner, form).event_properties).unwrap()
    };
    let plain = properties(&Form::default());
    assert_eq!(plain["canvas_step_message_variation_api_id"], "v");
    assert_eq!(plain["timezone"], "Asia/Tokyo");
    assert_eq!(plain.get("carrier"), None);
    let all = Form { pass_unknown_storage_fields: true, ..Form::default() };
    assert_eq!(properties(&all)["carrier"], "c");
}

/// The key of a file says its type; the schema is asked only where it does not.
#[test]
fn the_path_names_the_type_before_the_schema_does() {
    let first = |file, path| {
        let mut reader = StorageReader::open(file, path).unwrap();
        reader.next().unwrap().unwrap().event_type.into_owned()
    };
    assert_eq!(first(CLICK, None), "users.messages.email.Click");
    assert_eq!(first(CLICK, Some("users.messages.kiosk.Click")), "users.messages.kiosk.Click");
    let plain = json!({"type": "record", "name": "Lone", "fields": [
        {"name": "id", "type": "string"}, {"name": "time", "type": "long"}, {"name": "x", "type": ["null", "int"]}]});
    let mut record = Vec::new();
    push_text(&mut record, "a");
    push_long(&mut record, 1_767_258_000_123);
    record.extend([2, 14]);
    let file = Container::new(&plain, Codec::Null).block(1, &record).bytes;
    assert_eq!(read(&file, None), r#"Lone a 1767258000123 | - - - | {"x":7} | -"#);
}

/// A file of many records in one block, as Braze writes them.
fn uninstalls(codec: Codec, records: i64) -> Vec<u8> {
    let about = catalogue::find("users.behaviors.Uninstall").unwrap();
    let mut bytes = Vec::new();
    for number in 0..records {
        let mut record = stored(about);
        record["id"] = json!(format!("id-{number}"));
        push_record(&mut bytes, about.storage.iter(), &record);
    }
    let schema = schema(&about.event_type, about.storage.iter());
    Container::new(&schema, codec).block(records, &bytes).bytes
}

/// Number of events, usable or not, and how it ended.
fn outcome(file: &[u8]) -> (usize, Option<String>) {
    let reader = match StorageReader::open(file, None) {
        Ok(reader) => reader,
        Err(broken) => return (0, Some(broken.to_string())),
    };
    let (mut events, mut end) = (0, None);
    for event in reader {
        assert!(end.is_none(), "nothing comes after the end");
        match event {
            Ok(_) | Err(Fault::Unusable(_)) => events += 1,
            Err(Fault::Broken(broken)) => end = Some(broken.to_string()),
        }
    }
    (events, end)
}

#[test]
fn a_file_that_is_cut_off_gives_what_is_whole() {
    for codec in CODECS {
        let file = uninstalls(codec, 9);
        assert_eq!(outcome(&file), (9, None), "{codec:?}");
        let mut before = 0;
        for length in 1..file.len() {
            let (events, end) = outcome(&file[..length]);
            assert!(events >= before, "{codec:?} {length}");
            before = events;
            // A header without blocks is a file without events.
            let header = header_bytes(&file);
            assert_eq!(end.is_none(), length == header, "{codec:?} {length}: {end:?}");
        }
        assert_eq!(before, 9, "{codec:?}: all records, but not the marker behind them");
    }
    let file = uninstalls(Codec::Null, 40);
    let (events, end) = outcome(&file[..file.len() / 2]);
    assert!(events > 10, "{events}");
    let half = file.len() / 2;
    let expected = format!("broken at byte {half}, after {events} events: it ends in the middle");
    assert_eq!(end, Some(expected));
}

/// Bytes before the first block.
fn header_bytes(file: &[u8]) -> usize {
    file.windows(MARKER.len()).position(|window| window == MARKER).unwrap() + MARKER.len()
}

#[test]
fn damage_is_said_where_it_is() {
    let file = uninstalls(Codec::Null, 2);
    let end = file.len() - 1;
    let mut wrong_marker = file.clone();
    wrong_marker[end] ^= 1;
    let (events, said) = outcome(&wrong_marker);
    assert_eq!(events, 2);
    let at = file.len();
    let marker = format!(
        "broken at byte {at}, after 2 events: a block does not end with the marker of the file"
    );
    assert_eq!(said, Some(marker));

    let about = catalogue::find("users.canvas.exit.PerformedEvent").unwrap();
    let schema = schema(&about.event_type, about.storage.iter());
    let mut bytes = Vec::new();
    push_record(&mut bytes, about.storage.iter(), &stored(about));
    for codec in CODECS {
        let longer = [bytes.as_slice(), b"more"].concat();
        let (events, said) = outcome(&Container::new(&schema, codec).block(1, &longer).bytes);
        assert_eq!(events, 1, "{codec:?}");
        assert!(said.unwrap().ends_with("a block holds more than its records"), "{codec:?}");
        let (events, said) = outcome(&Container::new(&schema, codec).block(2, &bytes).bytes);
        assert_eq!(events, 1, "{codec:?}");
        assert!(said.unwrap().ends_with("it ends in the middle"), "{codec:?}");
    }
    let mut bad_checksum = Container::new(&schema, Codec::Snappy).block(1, &bytes).bytes;
    let at = bad_checksum.len() - MARKER.len() - 1;
    bad_checksum[at] ^= 1;
    let (events, said) = outcome(&bad_checksum);
    assert_eq!((events, said.unwrap().ends_with("a snappy block has another checksum")), (0, true));
}

#[test]
fn headers_that_cannot_be_read_are_refused() {
    let with = |schema: Value| {
        let file = Container::new(&schema, Codec::Null).block(1, b"").bytes;
        StorageReader::open(file.as_slice(), None).map(drop).unwrap_err().to_string()
    };
    let record = |fields: Value| json!({"type": "record", "name": "A", "fields": fields});
    let answers = [
        with(json!("string")),
        with(json!(7)),
        with(record(json!([]))),
        with(record(json!([{"name": "x", "type": "null"}]))),
        with(record(json!([{"name": "x", "type": "A"}, {"name": "y", "type": "A"}]))),
        with(record(json!([{"name": "x", "type": "B"}]))),
        with(record(json!([{"name": "x"}]))),
        with(record(json!([{"name": "x", "type": {"type": "array"}}]))),
    ];
    let answers = answers.map(|answer| answer.split_once("events: ").unwrap().1.to_owned());
    assert_snapshot!(answers.join("\n"), @r#"
    schema is no record
    schema has 7 in the place of a type
    schema is a record without content
    schema is a record without content
    schema is a record without content
    schema names the unknown type `B`
    field `x` has no type
    schema has a type without `items`
    "#);
    let unknown = Container::new(&record(json!([{"name": "id", "type": "string"}])), Codec::Null);
    let text = unknown.bytes.windows(4).position(|window| window == b"null").unwrap();
    let mut bytes = unknown.bytes;
    bytes[text..text + 4].copy_from_slice(b"lzma");
    assert!(outcome(&bytes).1.unwrap().ends_with("codec `lzma`"));
    assert!(outcome(b"Obj\x02").1.unwrap().ends_with("not an Avro container"));
}

/// A type inside itself could be nested without end, and a damaged length could ask for any memory.
#[test]
fn what_a_file_claims_costs_no_more_than_what_it_has() {
    let endless = json!({"type": "record", "name": "A", "fields": [
        {"name": "id", "type": "string"}, {"name": "a", "type": ["null", "A"]}]});
    let record = [2, b'x', 2].repeat(1_000);
    let (events, said) = outcome(&Container::new(&endless, Codec::Null).block(1, &record).bytes);
    assert_eq!((events, said.unwrap().ends_with("a value is deeper than 64")), (0, true));

    let text = json!({"type": "record", "name": "A", "fields": [{"name": "id", "type": "string"}]});
    for length in [-1, i64::MAX, 1 << 30, 1 << 20] {
        let mut record = Vec::new();
        push_long(&mut record, length);
        let (events, said) = outcome(&Container::new(&text, Codec::Null).block(1, &record).bytes);
        assert_eq!((events, said.is_some()), (0, true), "{length}");
    }
    let nulls = json!({"type": "record", "name": "A", "fields": [
        {"name": "x", "type": {"type": "array", "items": "null"}}]});
    let mut record = Vec::new();
    push_long(&mut record, i64::MAX);
    let (_, said) = outcome(&Container::new(&nulls, Codec::Null).block(1, &record).bytes);
    assert!(said.unwrap().contains("a value of more than"));
}

/// A record that is no event is told as such, and the next one is read.
#[test]
fn a_record_that_is_no_event_is_put_aside() {
    let loose = json!({"type": "record", "name": "A", "namespace": "dataexport.GCS.inner.users", "fields": [
        {"name": "id", "type": ["null", "string"]}, {"name": "time", "type": "int"},
        {"name": "user_id", "type": "string"}, {"name": "n", "type": "double"}]});
    let mut records = Vec::new();
    records.extend([0, 2, 2, b'u']);
    records.extend(2.5_f64.to_le_bytes());
    records.extend([2, 2, b'i', 2, 2, b'u']);
    records.extend(f64::NAN.to_le_bytes());
    let file = Container::new(&loose, Codec::Null).block(2, &records).bytes;
    assert_snapshot!(read(&file, None), @r#"
    unusable: no `id`: {"time":1,"user_id":"u","n":2.5}
    users.A i 1000 | - - - | {} | -
    "#);
}

struct Failing(Vec<u8>);

impl std::io::Read for Failing {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.0.is_empty() {
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        }
        let bytes = self.0.len().min(out.len()).min(7);
        out[..bytes].copy_from_slice(&self.0[..bytes]);
        self.0.drain(..bytes);
        Ok(bytes)
    }
}

/// Who reads a file from far away can try again; who has a damaged file cannot.
#[test]
fn a_connection_that_breaks_is_no_damage() {
    for codec in [Codec::Null, Codec::Deflate, Codec::Zstandard, Codec::Snappy] {
        let file = uninstalls(codec, 40);
        let most = Failing(file[..file.len() - 20].to_vec());
        let last = StorageReader::open(most, None).unwrap().last().unwrap();
        let is_read = matches!(last, Err(Fault::Broken(Broken::Read { .. })));
        assert!(is_read, "{codec:?}: {last:?}");
    }
    let text = StorageReader::open(Failing(b"{\"id\":".to_vec()), None).unwrap().last().unwrap();
    assert!(matches!(text, Err(Fault::Broken(Broken::Read { .. }))));
    let none = StorageReader::open(Failing(Vec::new()), None).map(drop);
    assert!(matches!(none, Err(Broken::Read { .. })));
}

const POSTED: &str = r#"{"event_type":"users.messages.email.Open","id":"a","time":1,"user":{"external_user_id":"u"},"properties":{"x":"]}\\\""}}"#;
const STORED: &str = r#"{"id":"b","time":2,"external_user_id":"u","device_id":null,"machine_open":"true","country":"DE"}"#;

#[test]
fn json_files_are_read_in_every_arrangement() {
    let lines = [
        r#"users.messages.email.Open a 1000 | u - - | {"x":"]}\\\""} | -"#,
        r#"users.messages.email.Open b 2000 | u - - | {"machine_open":"true"} | {"properties":{"country":"DE"}}"#,
    ];
    for file in [
        format!("{POSTED}\n{STORED}\n"),
        format!("\r\n{POSTED}\r\n\r\n{STORED}"),
        format!("[{POSTED},{STORED}]"),
        format!("[\n  {POSTED},\n\n  {STORED}\n]\n"),
        format!("{{\"events\":[{POSTED}, {STORED}]}}"),
        format!("{{\n \"events\" : [\n{POSTED}\n,{STORED}] , \"n\": {{\"a\":\"]}}\"}} }}\n"),
        format!("{{\"events\":[{POSTED}]}}\n{{\"events\":[]}}\n{{\"events\":[{STORED}]}}\n"),
        format!("{{\"events\":[{POSTED}]}}\n{STORED}"),
    ] {
        let read = read(file.as_bytes(), Some("users.messages.email.Open"));
        assert_eq!(read, lines.join("\n"), "{file}");
    }
    for file in ["", " \n\n", "[]", "[ ]\n", "{\"events\":[]}"] {
        assert_eq!(read(file.as_bytes(), None), "", "{file}");
    }
}

#[test]
fn what_is_wrong_in_a_json_file_is_told() {
    let file = format!(
        "{{oops}}\n{STORED}\n7\n\u{fe}{POSTED}\n[{POSTED},1,\"x\",[2]]\n{{\"id\":\"c\",\"ti"
    );
    assert_snapshot!(read(file.as_bytes(), None), @r#"
    unusable: not JSON: key must be a string at line 1 column 2: {oops}
    unusable: no `event_type`: {"id":"b","time":2,"external_user_id":"u","device_id":null,"machine_open":"true","country":"DE"}
    unusable: not an object: 7
    unusable: not JSON: expected value at line 1 column 1: þ{"event_type":"users.messages.email.Open","id":"a","time":1,"user":{"external_user_id":"u"},"properties":{"x":"]}\\\""}}
    users.messages.email.Open a 1000 | u - - | {"x":"]}\\\""} | -
    unusable: not an object: 1
    unusable: not an object: "x"
    unusable: not an object: [2]
    broken at byte 375, after 8 events: it ends in the middle of an event
    "#);
    assert_snapshot!(read(format!("[{POSTED},{{\"id\":\"c\"").as_bytes(), None), @r#"
    users.messages.email.Open a 1000 | u - - | {"x":"]}\\\""} | -
    broken at byte 131, after 1 events: it ends in the middle of an event
    "#);
    assert_snapshot!(read(format!("[{POSTED},").as_bytes(), None), @r#"
    users.messages.email.Open a 1000 | u - - | {"x":"]}\\\""} | -
    broken at byte 122, after 1 events: it ends in the middle of a list
    "#);
    assert_snapshot!(read(b"{\"id\":\"\xff\"}\n", None), @r#"unusable: not JSON: not UTF-8: {"id":"�"}"#);
}

/// A line may come from anywhere: with its type beside it, and numbers printed from 32 bits.
#[test]
fn a_flat_line_may_name_its_type_and_print_its_numbers_in_full() {
    let line = r#"{"event_type":"users.behaviors.Purchase","id":"a","time":1,"user_id":"b","price":19.989999771118164,"properties":{"n":1}}"#;
    assert_eq!(
        shown(&read_json_line(line, None).unwrap()),
        r#"users.behaviors.Purchase a 1000 | - - - | {"price":19.99,"purchase_properties":{"n":1}} | -"#
    );
    let exact = r#"{"id":"a","time":1,"price":19.99,"properties":"{\"a\":1}"}"#;
    assert_eq!(
        shown(&read_json_line(exact, Some("users.behaviors.Purchase")).unwrap()),
        r#"users.behaviors.Purchase a 1000 | - - - | {"price":19.99,"purchase_properties":{"a":1}} | -"#
    );
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>, cut in 0..4_000_usize, flips in proptest::collection::vec((0..4_000_usize, any::<u8>()), 0..4)) {
        drop(outcome(&bytes));
        drop(outcome(&[b"Obj\x01", bytes.as_slice()].concat()));
        for file in [CLICK, PURCHASE, CUSTOM, BANNER] {
            let mut file = file.to_vec();
            for (at, byte) in &flips {
                let at = at % file.len();
                file[at] = *byte;
            }
            file.truncate(cut.max(1));
            drop(outcome(&file));
        }
    }

    #[test]
    fn any_text_is_answered(text: String) {
        drop(read(text.as_bytes(), None));
        drop(read(format!("[{text}").as_bytes(), None));
        drop(read(format!("{{\"events\":[{{{text}}}]}}").as_bytes(), None));
        drop(read_json_line(&text, None));
    }

    /// Whatever the values are, both forms are one event.
    #[test]
    fn both_forms_are_one_event(
        kind in 0..111_usize,
        texts in proptest::collection::vec(any::<String>(), 8),
        number: i32,
        single: f32,
        codec in 0..CODECS.len(),
    ) {
        let about = catalogue::all().nth(kind).unwrap();
        let Some(http) = &about.http else { return Ok(()) };
        let mut record = stored(about);
        for (at, (name, value)) in record.as_object_mut().unwrap().iter_mut().enumerate() {
            let text = &texts[at % texts.len()];
            match about.storage[name].trim_end_matches('?') {
                _ if name == "id" || name == "time" => {}
                "string" if name != "properties" => *value = json!(text),
                "int" | "long" => *value = json!(number),
                "boolean" => *value = json!(number % 2 == 0),
                "float" if single.is_finite() => {
                    *value = serde_json::from_str(&single.to_string()).unwrap();
                }
                "array<string>" => *value = json!(texts),
                _ => {}
            }
        }
        let of_file = read_stored(about, &record, CODECS[codec]);
        let mut properties = serde_json::Map::new();
        for name in &http.properties {
            let source = match name.as_str() {
                "custom_properties" | "purchase_properties" => {
                    let own = record["properties"].as_str().unwrap();
                    properties.insert(name.clone(), serde_json::from_str(own).unwrap());
                    continue;
                }
                "canvas_step_message_variation_api_id" if !about.storage.contains_key(name) => {
                    "canvas_step_message_variation_id"
                }
                name => name,
            };
            if let Some(value) = record.get(source) {
                properties.insert(name.clone(), value.clone());
            }
        }
        let user = ["user_id", "external_user_id", "device_id", "timezone"];
        let user: serde_json::Map<_, _> = user
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), record.get(*name)?.clone())))
            .collect();
        let posted = read_posted(&json!({
            "event_type": about.event_type, "id": record["id"], "time": record["time"],
            "user": user, "properties": properties,
        }));
        let form = Form::default();
        let [of_file, posted] = [&of_file, &posted].map(|event| {
            let appearance = appear(event, &form);
            (appearance.upload(event).parse::<Value>().unwrap(), appearance.export)
        });
        prop_assert_eq!(of_file, posted);
    }
}
