//! RFC 862: everything comes back.

use super::{Conversation, Turn, ready};
use ironwarp_driver::stream::TcpStream;
use std::io::{self, Read, Write};

const BUFFER: usize = 64 << 10;

/// Bytes received and not yet sent back.
#[derive(Default)]
pub(super) struct Echo {
    buffer: Vec<u8>,
    sent: usize,
    ended: bool,
}

impl Conversation for Echo {
    fn step(&mut self, mut stream: &TcpStream, room: usize) -> io::Result<Turn> {
        let mut moved = 0;
        while moved < room {
            if self.sent < self.buffer.len() {
                let Some(count) = ready(stream.write(&self.buffer[self.sent..]))? else { break };
                self.sent += count;
                moved += count;
            } else if self.ended {
                stream.shutdown_write()?;
                return Ok(Turn::Over);
            } else {
                self.buffer.resize(BUFFER, 0);
                self.sent = 0;
                let count = ready(stream.read(&mut self.buffer));
                self.buffer.truncate(*count.as_ref().ok().and_then(Option::as_ref).unwrap_or(&0));
                match count? {
                    None => break,
                    Some(0) => self.ended = true,
                    Some(count) => moved += count,
                }
            }
        }
        Ok(if moved > 0 { Turn::Moved } else { Turn::Waits })
    }
}
