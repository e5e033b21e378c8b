//! The two ends of a stream: packets to words and back, with gaps and stalls.

use super::{Random, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::stream::{StreamIn, StreamOut};
use std::collections::VecDeque;

/// A packet as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// At least one.
    pub bytes: Vec<u8>,
    /// Whether it is marked bad.
    pub err: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    data: u32,
    first: bool,
    last: bool,
    empty: u8,
    err: bool,
    /// Travels with the word beside the stream.
    side: u32,
}

/// Drives the words of packets, and noise where there is none.
pub struct Source {
    noise: Random,
    words: VecDeque<Word>,
    offered: bool,
}

impl Default for Source {
    fn default() -> Self {
        Source { noise: random(0), words: VecDeque::new(), offered: false }
    }
}

impl Source {
    /// Appends a packet whose first byte stands `offset` bytes into its first word. `filler` is what stands where
    /// no byte is; `side` goes beside the first word, its complement beside the others.
    pub fn push(&mut self, packet: &Packet, offset: usize, filler: u8, side: u32) {
        assert!(offset < 4 && !packet.bytes.is_empty());
        let mut bytes = vec![filler; offset];
        bytes.extend(&packet.bytes);
        let empty = bytes.len().wrapping_neg() % 4;
        bytes.resize(bytes.len() + empty, filler);
        let count = bytes.len() / 4;
        self.words.extend(bytes.chunks_exact(4).enumerate().map(|(i, chunk)| {
            let last = i + 1 == count;
            Word {
                data: u32::from_le_bytes(chunk.try_into().unwrap()),
                first: i == 0,
                last,
                empty: if last { empty as u8 } else { 0 },
                err: last && packet.err,
                side: if i == 0 { side } else { !side },
            }
        }));
    }

    /// Whether all words have passed.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Drives the port for this cycle: the word offered before, or if `willing` the next. Returns its side value.
    pub fn drive(&mut self, port: &mut StreamIn, willing: bool) -> u32 {
        self.offered = (self.offered || willing) && !self.words.is_empty();
        port.valid.next = self.offered;
        let noise = self.noise.word();
        let nothing = Word {
            data: noise,
            first: noise & 1 != 0,
            last: noise & 2 != 0,
            empty: (noise >> 2 & 3) as u8,
            err: noise & 16 != 0,
            side: noise >> 5,
        };
        let word = self.words.front().filter(|_| self.offered).unwrap_or(&nothing);
        port.data.next = FB::new(word.data.into());
        port.first.next = word.first;
        port.last.next = word.last;
        port.empty.next = FB::new(word.empty.into());
        port.err.next = word.err;
        word.side
    }

    /// The settled cycle: has the word passed?
    pub fn look(&mut self, port: &StreamIn) -> bool {
        let passes = self.offered && port.ready.val();
        if passes {
            self.words.pop_front();
            self.offered = false;
        }
        passes
    }
}

/// Takes words, checks the rules of the stream and makes packets of them.
#[derive(Default)]
pub struct Sink {
    /// Complete packets.
    pub packets: Vec<Packet>,
    open: Option<Vec<u8>>,
    waiting: Option<Word>,
}

impl Sink {
    /// The settled cycle. Returns whether a word has passed.
    pub fn look(&mut self, port: &StreamOut) -> bool {
        let word = port.valid.val().then(|| Word {
            data: port.data.val().get() as u32,
            first: port.first.val(),
            last: port.last.val(),
            empty: port.empty.val().get() as u8,
            err: port.err.val(),
            side: 0,
        });
        if self.waiting.is_some() {
            assert_eq!(word, self.waiting, "a word changed before it was taken");
        }
        self.waiting = word.filter(|_| !port.ready.val());
        let Some(word) = word.filter(|_| port.ready.val()) else { return false };
        assert_eq!(word.first, self.open.is_none(), "first: {word:x?}");
        assert!(word.last || (word.empty == 0 && !word.err), "{word:x?}");
        let mut bytes = self.open.take().unwrap_or_default();
        bytes.extend(&word.data.to_le_bytes()[..4 - usize::from(word.empty)]);
        if word.last {
            self.packets.push(Packet { bytes, err: word.err });
        } else {
            self.open = Some(bytes);
        }
        true
    }
}
