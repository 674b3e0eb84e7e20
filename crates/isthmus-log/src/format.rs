//! The bytes of a log: file names, segment headers, record frames. Pure.
//!
//! ```text
//! folder/lock                          held by the one process that writes
//! folder/00000000000000000000.log      a segment, named by the offset of its first frame
//! folder/rewrite                       frames about to be written over older ones; see `rewrite`
//!
//! segment = header (32): magic 8, version 4, base offset 8, zero 8, crc32 of these 4
//!           frame*
//! frame   = header (24): marker 2, kind 1, zero 1, stored length 4, payload length 4,
//!                        bytes back to the first frame of the group 4,
//!                        crc32 of the stored bytes 4, crc32 of these and the frame's offset 4
//!           stored bytes
//! ```
//!
//! Numbers are little-endian. The header has a checksum of its own, so a damaged length is known
//! before anything is read by it, and that checksum covers the offset, so bytes of another place
//! (an old block, a log inside a payload) are never taken for a frame. "Back to the group" says
//! which frames were synced together; `recovery` needs it.
//!
//! A frame may be replaced by another one of the same size, so a shorter payload is followed by
//! bytes that mean nothing. They are not zeros, because `recovery` takes a sector of zeros for one
//! that never reached the disk.

use crate::LogError;
use bytes::{Buf, BufMut, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use isthmus_core::ByteSize;
use std::path::{Path, PathBuf};

/// Length of a segment's header; it takes no offsets.
pub(crate) const SEGMENT_HEADER: u64 = SEGMENT_HEADER_LEN as u64;
/// The same, for arrays.
pub(crate) const SEGMENT_HEADER_LEN: usize = 32;
/// Length of a frame's header.
pub(crate) const FRAME_HEADER: usize = 24;
/// Largest payload before compression, written or read. A frame that claims more is damaged, so a
/// reader never allocates more than this: eight times the default limit of stored bytes.
pub(crate) const PAYLOAD_MAX: u64 = 256 << 20;
/// Largest group: the distance back to its first frame has to fit its field.
pub(crate) const GROUP_MAX: u64 = 1 << 30;
/// First bytes of every frame, to find the next one after damage.
pub(crate) const MARKER: [u8; 2] = [0xa7, 0x1e];

const MAGIC: [u8; 8] = *b"isthmlog";
const VERSION: u32 = 1;
/// Payloads below this stay as they are: LZ4 has nothing to find in them.
const COMPRESS_MIN: usize = 64;
/// Smaller savings than one part in this many are not worth expanding for.
const WORTH_IT: usize = 16;
/// LZ4 cannot expand further than this (block format: one length byte stands for 255 bytes).
const LZ4_RATIO_MAX: u64 = 255;
/// Deflate cannot expand further than this (two bits stand for 258 bytes, zlib's FAQ).
const DEFLATE_RATIO_MAX: u64 = 1_032;
/// What follows a payload that is shorter than its frame.
const FILLER: u8 = 0xff;

/// The file of the segment that starts at `base`.
pub(crate) fn segment_path(folder: &Path, base: u64) -> PathBuf {
    folder.join(format!("{base:020}.log"))
}

/// The base offset in a segment's file name; `None` for other files.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// The header of the segment that starts at `base`.
pub(crate) fn segment_header(base: u64) -> [u8; SEGMENT_HEADER_LEN] {
    let mut header = [0; SEGMENT_HEADER_LEN];
    let mut fields = &mut header[..];
    fields.put_slice(&MAGIC);
    fields.put_u32_le(VERSION);
    fields.put_u64_le(base);
    fields.put_u64_le(0);
    let (summed, mut sum) = header.split_at_mut(SEGMENT_HEADER_LEN - 4);
    sum.put_u32_le(crc32fast::hash(summed));
    header
}

/// What the first bytes of a segment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentHeader {
    Valid,
    /// Whole, but of a format this build does not know.
    Newer(u32),
    /// Short, damaged, or of another base.
    Invalid,
}

/// Judges the first bytes of the segment that is named `base`.
pub(crate) fn check_segment_header(bytes: &[u8], base: u64) -> SegmentHeader {
    let Some(header) = bytes.first_chunk::<SEGMENT_HEADER_LEN>() else {
        return SegmentHeader::Invalid;
    };
    let (summed, mut sum) = header.split_at(SEGMENT_HEADER_LEN - 4);
    let mut fields = summed;
    let mut magic = [0; 8];
    fields.copy_to_slice(&mut magic);
    let (version, found) = (fields.get_u32_le(), fields.get_u64_le());
    if magic != MAGIC || crc32fast::hash(summed) != sum.get_u32_le() || found != base {
        return SegmentHeader::Invalid;
    }
    if version == VERSION { SegmentHeader::Valid } else { SegmentHeader::Newer(version) }
}

/// The format this build writes.
pub(crate) const fn version() -> u32 {
    VERSION
}

/// How the stored bytes of a frame are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The payload as it is.
    Plain,
    /// The payload as one LZ4 block.
    Lz4,
    /// Damaged bytes that an operator decided to skip; not a record.
    Skip,
    /// Rewritten: the payload as it is, then filler.
    Padded,
    /// Rewritten: the payload as raw deflate, then filler.
    Deflated,
    /// Rewritten: the payload as one LZ4 block, that as raw deflate, then filler.
    DeflatedLz4,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Plain, Self::Lz4, Self::Skip, Self::Padded, Self::Deflated, Self::DeflatedLz4];

    const fn byte(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Lz4 => 1,
            Self::Skip => 2,
            Self::Padded => 3,
            Self::Deflated => 4,
            Self::DeflatedLz4 => 5,
        }
    }
}

/// A frame's header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: Kind,
    /// Length of the stored bytes.
    pub(crate) stored: u32,
    /// Length of the payload.
    pub(crate) payload: u32,
    /// Bytes from the start of the group's first frame to the start of this one.
    pub(crate) back: u32,
    /// CRC-32 of the stored bytes.
    pub(crate) sum: u32,
}

impl FrameHeader {
    /// Bytes of the whole frame.
    pub(crate) fn size(self) -> u64 {
        FRAME_HEADER as u64 + u64::from(self.stored)
    }

    /// The bytes of this header for a frame at `offset`.
    pub(crate) fn encode(self, offset: u64) -> [u8; FRAME_HEADER] {
        let mut header = [0; FRAME_HEADER];
        let mut fields = &mut header[..];
        fields.put_slice(&MARKER);
        fields.put_u8(self.kind.byte());
        fields.put_u8(0);
        fields.put_u32_le(self.stored);
        fields.put_u32_le(self.payload);
        fields.put_u32_le(self.back);
        fields.put_u32_le(self.sum);
        let (summed, mut sum) = header.split_at_mut(FRAME_HEADER - 4);
        sum.put_u32_le(header_sum(summed, offset));
        header
    }

    /// Reads what [`Self::encode`] wrote for `offset` from the start of `bytes`.
    pub(crate) fn decode(bytes: &[u8], offset: u64) -> Option<Self> {
        let header = bytes.first_chunk::<FRAME_HEADER>()?;
        let (summed, mut sum) = header.split_at(FRAME_HEADER - 4);
        let mut fields = summed.strip_prefix(&MARKER)?;
        if header_sum(summed, offset) != sum.get_u32_le() {
            return None;
        }
        let (byte, zero) = (fields.get_u8(), fields.get_u8());
        let kind = Kind::ALL.into_iter().find(|kind| kind.byte() == byte && zero == 0)?;
        let [stored, payload, back, sum] = std::array::from_fn(|_| fields.get_u32_le());
        Some(Self { kind, stored, payload, back, sum })
    }

    /// Whether `stored` is what was written after this header.
    pub(crate) fn matches(self, stored: &[u8]) -> bool {
        stored.len() as u64 == u64::from(self.stored) && crc32fast::hash(stored) == self.sum
    }

    /// The payload in `stored`, which [`Self::matches`]; `None` when it cannot be expanded to
    /// exactly the length that the header claims, within the limits of the format.
    pub(crate) fn unpack(self, stored: &[u8]) -> Option<Bytes> {
        let len = u64::from(self.payload);
        match self.kind {
            Kind::Plain if len == stored.len() as u64 => Some(Bytes::copy_from_slice(stored)),
            Kind::Padded => stored.get(..usize::try_from(len).ok()?).map(Bytes::copy_from_slice),
            Kind::Lz4 => Some(expand(stored, len)?.into()),
            Kind::Deflated => {
                let payload = inflate(stored, len)?;
                (payload.len() as u64 == len).then(|| payload.into())
            }
            Kind::DeflatedLz4 if len <= PAYLOAD_MAX => {
                let longest = lz4_flex::block::get_maximum_output_size(usize::try_from(len).ok()?);
                let possible = u64::from(self.stored).saturating_mul(DEFLATE_RATIO_MAX);
                let block = inflate(stored, possible.min(longest as u64))?;
                Some(expand(&block, len)?.into())
            }
            _ => None,
        }
    }

    /// The whole frame that may be written over this one, which is at `offset`; `None` when
    /// `payload` does not fit.
    ///
    /// A payload from which something was removed fits: what LZ4 found in it is still there to be
    /// found, and deflate makes it smaller still. Deflate alone is better, but looks back only
    /// half as far as LZ4, which matters where long items repeat.
    pub(crate) fn refit(self, offset: u64, payload: &[u8]) -> Option<Vec<u8>> {
        let payload_len = u32::try_from(payload.len()).ok();
        let payload_len = payload_len.filter(|len| u64::from(*len) <= PAYLOAD_MAX)?;
        let room = self.stored as usize;
        let packed = || deflate(&lz4_flex::block::compress(payload), room);
        let (kind, mut stored) = if payload.len() <= room {
            (Kind::Padded, payload.to_vec())
        } else if let Some(stored) = deflate(payload, room) {
            (Kind::Deflated, stored)
        } else {
            (Kind::DeflatedLz4, packed()?)
        };
        stored.resize(room, FILLER);
        let sum = crc32fast::hash(&stored);
        let header = Self { kind, payload: payload_len, sum, ..self };
        assert_eq!(header.unpack(&stored).as_deref(), Some(payload), "what was packed is unpacked");
        Some([&header.encode(offset)[..], &stored].concat())
    }
}

/// `payload` as raw deflate, unless it is longer than `room`.
fn deflate(payload: &[u8], room: usize) -> Option<Vec<u8>> {
    let mut stored = Vec::with_capacity(room);
    let mut deflate = Compress::new(Compression::best(), false);
    let status = deflate.compress_vec(payload, &mut stored, FlushCompress::Finish).ok()?;
    (status == Status::StreamEnd && stored.len() <= room).then_some(stored)
}

/// The raw deflate stream that `stored` starts with, expanded, unless that takes more than
/// `len_max` bytes.
fn inflate(stored: &[u8], len_max: u64) -> Option<Vec<u8>> {
    if len_max > PAYLOAD_MAX + PAYLOAD_MAX / 2 || len_max / DEFLATE_RATIO_MAX > stored.len() as u64
    {
        return None;
    }
    let mut plain = Vec::with_capacity(usize::try_from(len_max).ok()?);
    let mut inflate = Decompress::new(false);
    let status = inflate.decompress_vec(stored, &mut plain, FlushDecompress::Finish).ok()?;
    (status == Status::StreamEnd).then_some(plain)
}

/// The LZ4 block `block`, expanded to exactly `len` bytes.
fn expand(block: &[u8], len: u64) -> Option<Vec<u8>> {
    if len > PAYLOAD_MAX || len / LZ4_RATIO_MAX > block.len() as u64 {
        return None;
    }
    let mut payload = vec![0; usize::try_from(len).ok()?];
    let count = lz4_flex::block::decompress_into(block, &mut payload).ok()?;
    (count == payload.len()).then_some(payload)
}

fn header_sum(summed: &[u8], offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(summed);
    hasher.update(&offset.to_le_bytes());
    hasher.finalize()
}

/// A record made ready for the disk: compressed where that helps, and checksummed. What is left
/// to know is its offset.
///
/// Built by whoever appends, so that many appends compress at once while one thread writes.
#[derive(Debug, Clone)]
pub struct Frame {
    header: FrameHeader,
    stored: Vec<u8>,
}

impl Frame {
    /// Prepares `payload`; [`LogError::TooLarge`] when more than `record_max` bytes remain after
    /// compression, or it is longer than 256 MiB before.
    pub fn new(payload: Vec<u8>, record_max: ByteSize) -> Result<Self, LogError> {
        let actual = payload.len() as u64;
        let payload_len = u32::try_from(actual)
            .ok()
            .filter(|_| actual <= PAYLOAD_MAX)
            .ok_or(LogError::TooLarge { actual, max: PAYLOAD_MAX })?;
        let (kind, stored) = compress(payload);
        let max = record_max.as_u64().min(PAYLOAD_MAX);
        let actual = stored.len() as u64;
        let stored_len = u32::try_from(actual)
            .ok()
            .filter(|_| actual <= max)
            .ok_or(LogError::TooLarge { actual, max })?;
        let sum = crc32fast::hash(&stored);
        let header = FrameHeader { kind, stored: stored_len, payload: payload_len, back: 0, sum };
        Ok(Self { header, stored })
    }

    /// Bytes this record takes on disk, and by how much its offset and the next one differ.
    pub fn size(&self) -> u64 {
        self.header.size()
    }

    /// The header for a frame at `offset`, in a group that starts at `group`.
    pub(crate) fn header_at(&self, offset: u64, group: u64) -> [u8; FRAME_HEADER] {
        let back = u32::try_from(offset - group).expect("groups are at most GROUP_MAX long");
        FrameHeader { back, ..self.header }.encode(offset)
    }

    /// What follows the header.
    pub(crate) fn stored(&self) -> &[u8] {
        &self.stored
    }
}

fn compress(payload: Vec<u8>) -> (Kind, Vec<u8>) {
    if payload.len() < COMPRESS_MIN {
        return (Kind::Plain, payload);
    }
    let mut packed = lz4_flex::block::compress(&payload);
    if packed.len() + payload.len() / WORTH_IT >= payload.len() {
        return (Kind::Plain, payload);
    }
    // The compressor reserves the worst case, and the queue counts what is used.
    packed.shrink_to_fit();
    (Kind::Lz4, packed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::seam::{Random, SeededRandom};
    use proptest::prelude::*;

    fn whole(frame: &Frame, offset: u64, group: u64) -> Vec<u8> {
        [&frame.header_at(offset, group)[..], frame.stored()].concat()
    }

    fn read(bytes: &[u8], offset: u64) -> Option<Bytes> {
        let header = FrameHeader::decode(bytes, offset)?;
        let stored = &bytes[FRAME_HEADER..];
        if header.matches(stored) { header.unpack(stored) } else { None }
    }

    proptest! {
        #[test]
        fn unpacking_inverts_packing(
            word in prop::collection::vec(any::<u8>(), 0..40),
            repeat in 0usize..60,
            offset: u64,
        ) {
            let payload = word.repeat(repeat);
            let frame = Frame::new(payload.clone(), ByteSize::mib(1)).unwrap();
            let bytes = whole(&frame, offset, offset);
            prop_assert_eq!(bytes.len() as u64, frame.size());
            prop_assert_eq!(read(&bytes, offset), Some(Bytes::from(payload)));
            prop_assert_eq!(read(&bytes, offset ^ 4096), None, "a frame of another place");
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>, offset: u64, stored: u32, payload: u32) {
            prop_assert_eq!(FrameHeader::decode(&bytes, offset), None);
            check_segment_header(&bytes, offset);
            for kind in Kind::ALL {
                let sum = crc32fast::hash(&bytes);
                drop(FrameHeader { kind, stored, payload, back: 0, sum }.unpack(&bytes));
            }
        }
    }

    proptest! {
        #[test]
        fn a_part_of_a_payload_fits_into_its_frame(
            items in prop::collection::vec((0u64..6, 1usize..4_000), 1..40),
            erased in prop::collection::vec(any::<bool>(), 40),
            offset: u64,
        ) {
            // Noise of a few kinds in as many letters as base64 has, the worst that text can be: only
            // what repeats can be packed well.
            let noise = |seed: u64, len: usize| -> Vec<u8> {
                let random = SeededRandom::new(seed);
                let words = std::iter::repeat_with(|| random.next_u64().to_le_bytes());
                words.flatten().map(|byte| b'0' + byte % 64).take(len).collect()
            };
            let item = |(seed, len): &(u64, usize)| noise(*seed, *len);
            let whole: Vec<u8> = items.iter().flat_map(item).collect();
            let kept = items.iter().zip(&erased).filter(|(_, erased)| !**erased);
            let part: Vec<u8> = kept.flat_map(|(kept, _)| item(kept)).collect();
            let frame = Frame::new(whole, ByteSize::mib(1)).unwrap();
            let old = FrameHeader::decode(&frame.header_at(offset, offset), offset).unwrap();
            let rewritten = old.refit(offset, &part);
            let rewritten = rewritten.expect("less fits where more did");
            prop_assert_eq!(rewritten.len() as u64, frame.size());
            prop_assert_eq!(read(&rewritten, offset), Some(Bytes::from(part)));
        }
    }

    #[test]
    fn each_way_of_packing_is_read_back_and_does_what_the_others_cannot() {
        let header = |stored| FrameHeader { kind: Kind::Lz4, stored, payload: 0, back: 9, sum: 0 };
        let random = SeededRandom::new(5);
        let noise: Vec<u8> = (0..5_000).flat_map(|_| random.next_u64().to_le_bytes()).collect();
        let cases = [
            (b"as it is".to_vec(), 8, Kind::Padded),
            (b"the same words, ".repeat(100), 60, Kind::Deflated),
            (noise.repeat(4), 41_000, Kind::DeflatedLz4),
        ];
        for (payload, room, kind) in cases {
            let bytes = header(room).refit(77, &payload).expect("there is room");
            assert_eq!(read(&bytes, 77).expect("it is whole"), payload);
            let rewritten = FrameHeader::decode(&bytes, 77).unwrap();
            assert_eq!((rewritten.kind, rewritten.back), (kind, 9));
        }
        assert_eq!(header(39_000).refit(77, &noise), None, "there is no room");
    }

    #[test]
    fn rewritten_frames_stay_readable() {
        let padded = [
            167, 30, 3, 0, 8, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 144, 140, 89, 78, 106, 1, 209, 110,
            97, 115, 32, 105, 115, 255, 255, 255,
        ];
        assert_eq!(read(&padded, 77).unwrap(), b"as is"[..]);
        let words = b"the same words, ".repeat(8);
        let deflated = [
            167, 30, 4, 0, 28, 0, 0, 0, 128, 0, 0, 0, 9, 0, 0, 0, 75, 194, 98, 54, 20, 176, 124,
            146, 43, 201, 72, 85, 40, 78, 204, 77, 85, 40, 207, 47, 74, 41, 214, 81, 40, 161, 51,
            31, 0, 255, 255, 255, 255, 255, 255, 255,
        ];
        assert_eq!(read(&deflated, 77).unwrap(), words);
        let stored = [
            251, 207, 88, 146, 145, 170, 80, 156, 152, 155, 170, 80, 158, 95, 148, 82, 172, 163,
            32, 192, 16, 158, 0, 97, 1, 0, 255, 255,
        ];
        let sum = crc32fast::hash(&stored);
        let header =
            FrameHeader { kind: Kind::DeflatedLz4, stored: 28, payload: 128, back: 0, sum };
        let bytes = [&header.encode(77)[..], &stored].concat();
        assert_eq!(bytes[2], 5, "the kind's number");
        assert_eq!(read(&bytes, 77).unwrap(), words);
    }

    #[test]
    fn a_flip_of_any_bit_is_noticed() {
        let frame = Frame::new(b"one small payload, ".repeat(8), ByteSize::mib(1)).unwrap();
        let bytes = whole(&frame, 4_096, 4_000);
        assert!(read(&bytes, 4_096).is_some());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&damaged, 4_096), None, "bit {bit}");
        }
    }

    #[test]
    fn a_header_that_lies_about_its_length_gets_no_memory() {
        let stored = [0x1f, b'a', 1, 0, 255, 255, 255];
        let sum = crc32fast::hash(&stored);
        let lie = |payload| {
            FrameHeader { kind: Kind::Lz4, stored: 7, payload, back: 0, sum }.unpack(&stored)
        };
        assert_eq!(lie(u32::MAX), None);
        assert_eq!(lie(8 * 255), None, "more than LZ4 can expand seven bytes to");
        assert_eq!(lie(1_000), None, "possible, but not what the block holds");
    }

    #[test]
    fn limits_are_those_after_compression() {
        let limit = ByteSize::kib(1);
        assert!(Frame::new(vec![b'a'; 100_000], limit).is_ok());
        let random = SeededRandom::new(1);
        let noise = (0..1_025_u32).flat_map(|_| random.next_u64().to_le_bytes()).collect();
        let error = Frame::new(noise, limit).unwrap_err();
        assert_eq!(error.to_string(), "record of 8200 bytes exceeds the limit of 1024 bytes");
    }

    #[test]
    fn segment_names_and_headers_say_their_base() {
        let path = segment_path(Path::new("intake"), 67_108_864);
        assert_eq!(path, Path::new("intake/00000000000067108864.log"));
        assert_eq!(parse_segment_name("00000000000067108864.log"), Some(67_108_864));
        for other in
            ["lock", "67108864.log", "0000000000006710886x.log", "99999999999999999999.log"]
        {
            assert_eq!(parse_segment_name(other), None, "{other}");
        }
        let header = segment_header(7);
        assert_eq!(check_segment_header(&header, 7), SegmentHeader::Valid);
        assert_eq!(check_segment_header(&header, 8), SegmentHeader::Invalid);
        assert_eq!(check_segment_header(&header[..31], 7), SegmentHeader::Invalid);
        for bit in 0..header.len() * 8 {
            let mut damaged = header;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check_segment_header(&damaged, 7), SegmentHeader::Invalid, "bit {bit}");
        }
    }
}
