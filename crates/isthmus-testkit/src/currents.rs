//! Files as the storage connector of Braze Currents writes them: Avro containers of one event type.

use std::io::{self, Write};

/// Stands between blocks; any sixteen bytes do.
const MARKER: &[u8; 16] = b"isthmus-testkit!";
/// Records of one block.
const BLOCK_RECORDS: u64 = 1_000;
/// When the first event happened, in seconds.
const FIRST_AT: i64 = 1_767_258_000;

/// Every field of an e-mail open that a connector usually fills.
const SCHEMA: &str = r#"{"type":"record","name":"Open","namespace":"dataexport.S3.inner.users.messages.email","fields":[
{"name":"id","type":"string"},{"name":"user_id","type":"string"},
{"name":"external_user_id","type":["null","string"],"default":null},
{"name":"time","type":"int"},{"name":"timezone","type":["null","string"],"default":null},
{"name":"app_group_id","type":["null","string"],"default":null},
{"name":"campaign_id","type":["null","string"],"default":null},
{"name":"campaign_name","type":["null","string"],"default":null},
{"name":"canvas_id","type":["null","string"],"default":null},
{"name":"message_variation_id","type":["null","string"],"default":null},
{"name":"dispatch_id","type":["null","string"],"default":null},
{"name":"email_address","type":["null","string"],"default":null},
{"name":"machine_open","type":["null","string"],"default":null},
{"name":"user_agent","type":["null","string"],"default":null}]}"#;

/// Where a connector puts a file of e-mail opens of the hour `date` (`2026-01-01-09`), below its prefix.
pub fn key(date: &str, number: u64) -> String {
    let connector = "dataexport.prod-01.S3.integration.64b7f0c2a9d3e41b5c8f0a12";
    format!(
        "{connector}/event_type=users.messages.email.Open/date={date}/412/prod/{connector}+0+{number:010}.avro"
    )
}

/// The id of the event with this number.
pub fn id(number: u64) -> String {
    format!("0b8f2a54-6d5e-4c1a-9a39-{number:012x}")
}

/// The external user id of whom the event with this number is, one of some hundred thousand.
pub fn external_user_id(number: u64) -> String {
    format!("customer-{}", number.wrapping_mul(2_654_435_761) % 100_003)
}

/// Writes a file of e-mail opens with these numbers, in blocks.
pub fn write(out: &mut impl Write, numbers: impl IntoIterator<Item = u64>) -> io::Result<()> {
    let mut head = b"Obj\x01".to_vec();
    long(&mut head, 1);
    text(&mut head, "avro.schema");
    text(&mut head, SCHEMA);
    long(&mut head, 0);
    head.extend(MARKER);
    out.write_all(&head)?;
    let (mut block, mut records) = (Vec::new(), 0);
    for number in numbers {
        record(&mut block, number);
        records += 1;
        if records == BLOCK_RECORDS {
            write_block(out, &mut block, records)?;
            records = 0;
        }
    }
    if records > 0 {
        write_block(out, &mut block, records)?;
    }
    Ok(())
}

/// [`write`] into memory.
///
/// # Panics
/// Never: memory takes any bytes.
pub fn file(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, numbers).expect("a Vec takes any bytes");
    bytes
}

fn write_block(out: &mut impl Write, block: &mut Vec<u8>, records: u64) -> io::Result<()> {
    let mut head = Vec::new();
    long(&mut head, i64::try_from(records).unwrap_or(i64::MAX));
    long(&mut head, i64::try_from(block.len()).unwrap_or(i64::MAX));
    out.write_all(&head)?;
    out.write_all(block)?;
    block.clear();
    out.write_all(MARKER)
}

fn record(out: &mut Vec<u8>, number: u64) {
    let some = |out: &mut Vec<u8>, value: &str| {
        long(out, 1);
        text(out, value);
    };
    text(out, &id(number));
    text(out, &format!("{:024x}", number.wrapping_mul(2_654_435_761) % 100_003));
    some(out, &external_user_id(number));
    long(out, FIRST_AT + i64::try_from(number / 50).unwrap_or_default());
    some(out, "Europe/Berlin");
    some(out, "7d1c4e0e-1111-4b1b-8c1c-000000000001");
    some(out, &format!("7d1c4e0e-2222-4b1b-8c1c-{:012}", number % 40));
    some(out, &format!("Newsletter {}", number % 40));
    long(out, 0);
    some(out, &format!("7d1c4e0e-3333-4b1b-8c1c-{:012}", number % 80));
    some(out, &format!("{:032x}", number / 1_000));
    some(out, &format!("customer-{}@example.org", number % 100_003));
    some(out, if number.is_multiple_of(3) { "true" } else { "false" });
    some(
        out,
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    );
}

fn text(out: &mut Vec<u8>, text: &str) {
    long(out, i64::try_from(text.len()).unwrap_or(i64::MAX));
    out.extend(text.as_bytes());
}

/// Zigzag, seven bits a byte, the lowest first.
fn long(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        out.push(u8::try_from(left & 0x7f).unwrap_or_default() | 0x80);
        left >>= 7;
    }
    out.push(u8::try_from(left).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_braze::currents::StorageReader;

    #[test]
    fn what_is_written_is_read_as_events_of_braze() {
        let bytes = file(7..2_507);
        let reader = StorageReader::open(&*bytes, None).unwrap();
        let events: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
        assert_eq!(events.len(), 2_500);
        assert_eq!((&*events[0].id, &*events[2_499].id), (&*id(7), &*id(2_506)));
        assert_eq!(events[0].event_type, "users.messages.email.Open");
        assert_eq!(events[0].external_user_id.as_deref(), Some(&*external_user_id(7)));
        assert_eq!(events[0].time, FIRST_AT * 1_000);
    }
}
