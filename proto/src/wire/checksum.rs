//! The Internet checksum: the one's complement sum of 16-bit words (RFC 1071, RFC 9293 section 3.1).

use std::net::Ipv4Addr;

/// Adds `data` to a partial sum. Data of odd length is padded with a zero byte, so only the last piece may be odd.
///
/// Eight bytes at a time: 2^16 = 1 modulo 2^16 - 1, so words of any multiple of 16 bits may be added and folded
/// afterwards.
pub fn sum(initial: u32, data: &[u8]) -> u32 {
    let mut chunks = data.chunks_exact(8);
    let mut total = u64::from(initial);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        let word = u64::from_be_bytes(word);
        total += (word >> 32) + (word & 0xffff_ffff);
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    let last = u64::from_be_bytes(last);
    total += (last >> 32) + (last & 0xffff_ffff);
    fold(total)
}

/// The value for the checksum field; 0 when the summed data included a correct checksum.
pub fn finish(partial: u32) -> u16 {
    !(fold(u64::from(partial)) as u16)
}

/// The partial sum of the pseudo header of TCP over IPv4; `len` is the length in bytes of TCP header and payload.
pub fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u16) -> u32 {
    let addresses = sum(sum(0, &src.octets()), &dst.octets());
    fold(u64::from(addresses) + u64::from(protocol) + u64::from(len))
}

/// Adds the carries back in until 16 bits are left.
fn fold(mut total: u64) -> u32 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 4.1, one byte at a time.
    fn reference(data: &[u8]) -> u16 {
        let mut total: u32 = 0;
        for (at, byte) in data.iter().enumerate() {
            total += u32::from(*byte) << (if at % 2 == 0 { 8 } else { 0 });
            total = (total & 0xffff) + (total >> 16);
        }
        !(total as u16)
    }

    #[test]
    fn rfc_1071_example() {
        assert_eq!(finish(sum(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), !0xddf2);
    }

    proptest! {
        #[test]
        fn as_the_reference_and_in_pieces(data: Vec<u8>, cut: usize) {
            prop_assert_eq!(finish(sum(0, &data)), reference(&data));
            let cut = cut % (data.len() / 2 + 1) * 2;
            prop_assert_eq!(finish(sum(sum(0, &data[..cut]), &data[cut..])), reference(&data));
        }

        #[test]
        fn any_partial_sum_is_taken(initial: u32, data: Vec<u8>) {
            let mut whole = initial.to_be_bytes().to_vec();
            whole.extend(&data);
            prop_assert_eq!(finish(sum(initial, &data)), reference(&whole));
        }
    }
}
