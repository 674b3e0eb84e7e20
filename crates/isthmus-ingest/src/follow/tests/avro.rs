//! Writes Avro containers of one block, as Braze's storage connector does.

const MARKER: &[u8; 16] = b"sixteen bytes...";

/// A file of e-mail opens with `ids`, which says that it has `codec` whatever it has.
pub(super) fn file(ids: &[&str], codec: Option<&str>) -> Vec<u8> {
    let records: Vec<_> = ids.iter().map(|id| record(id, None)).collect();
    container("", &records, codec)
}

/// A file whose schema has a nullable text more.
pub(super) fn file_with_field(ids: &[&str], name: &str, value: &str) -> Vec<u8> {
    let field = format!(r#",{{"name":"{name}","type":["null","string"],"default":null}}"#);
    let records: Vec<_> = ids.iter().map(|id| record(id, Some(value))).collect();
    container(&field, &records, None)
}

fn record(id: &str, more: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    text(&mut bytes, id);
    long(&mut bytes, 1_767_258_000);
    if let Some(value) = more {
        long(&mut bytes, 1);
        text(&mut bytes, value);
    }
    bytes
}

fn container(field: &str, records: &[Vec<u8>], codec: Option<&str>) -> Vec<u8> {
    let schema = format!(
        r#"{{"type":"record","name":"Open","namespace":"dataexport.S3.inner.users.messages.email","fields":[{{"name":"id","type":"string"}},{{"name":"time","type":"int"}}{field}]}}"#
    );
    let mut bytes = b"Obj\x01".to_vec();
    let metadata = [Some(("avro.schema", &*schema)), codec.map(|codec| ("avro.codec", codec))];
    let metadata: Vec<_> = metadata.into_iter().flatten().collect();
    long(&mut bytes, i64::try_from(metadata.len()).unwrap());
    for (key, value) in metadata {
        text(&mut bytes, key);
        text(&mut bytes, value);
    }
    long(&mut bytes, 0);
    bytes.extend(MARKER);
    let block = records.concat();
    long(&mut bytes, i64::try_from(records.len()).unwrap());
    long(&mut bytes, i64::try_from(block.len()).unwrap());
    bytes.extend(block);
    bytes.extend(MARKER);
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    long(bytes, i64::try_from(text.len()).unwrap());
    bytes.extend(text.as_bytes());
}

fn long(bytes: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    bytes.push(u8::try_from(left).unwrap());
}
