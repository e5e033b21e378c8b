//! Answers to ping (RFC 792, RFC 1122 section 3.2.2.6).

use ironwarp_proto::wire::icmp::IcmpEcho;

/// The most data echoed, bytes. A longer request is not answered: a part would be a wrong answer.
const MAX_DATA: usize = 8972;

/// The answer to an ICMP message, if it is an echo request.
pub fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let echo = IcmpEcho::parse(message).ok()?;
    if echo.reply || echo.data.len() > MAX_DATA {
        return None;
    }
    let mut reply = Vec::with_capacity(message.len());
    IcmpEcho { reply: true, ..echo }.emit(&mut reply);
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(reply: bool, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        IcmpEcho { reply, id: 7, seq: 9, data }.emit(&mut bytes);
        bytes
    }

    #[test]
    fn echoes_requests_only() {
        let reply = answer(&request(false, b"abc")).unwrap();
        assert_eq!(IcmpEcho::parse(&reply), Ok(IcmpEcho { reply: true, id: 7, seq: 9, data: b"abc" }));
        assert_eq!(answer(&reply), None, "a reply to a reply would never end");
        assert_eq!(answer(&request(false, &[0; MAX_DATA + 1])), None);
        assert_eq!(answer(&[8, 0, 0, 0, 0, 0, 0, 0]), None, "bad checksum");
    }
}
