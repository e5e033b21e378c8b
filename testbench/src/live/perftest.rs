//! What perftest's `ib_send_bw`, `ib_write_bw` and `ib_read_bw` say with `-R`, as client and as server.
//!
//! ```text
//! client                                      server
//!   connects, for the talk                  ->
//!   version, page, cache line, MTU          ->  (each message is answered by one of its kind)
//!   destination (empty)                     ->
//!   connects again, for the data            ->
//!   destination, empty, and three times own ->  the server's own (before Sends, four times)
//!   Sends | Writes | Reads                  ->  of Sends, counts of those taken are written into the client's memory
//!   destination (a barrier)                 ->
//!   not of Sends: five results, destination ->
//! ```
//! A *destination* names the memory of its sender.

use super::end::{End, LIMIT, request, wait_for};
use ironwarp_driver::cm::{ConnectError, ConnectParams};
use ironwarp_driver::net::CloseReason;
use ironwarp_driver::verbs::{Context, QpState, RemoteAddress, SendRequest, WcOpcode, WcStatus};

/// Port of perftest.
pub const PORT: u16 = 18515;
/// Length of a destination: LID, reads, QPN, PSN, STag, padding, address, GID, SRQN and GID index.
const DESTINATION: usize = 56;
const STAG_AT: usize = 16;
const ADDRESS_AT: usize = 24;
/// Length of a number of the results.
const RESULT: usize = 8;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `ib_send_bw`
    Send,
    /// `ib_write_bw`
    Write,
    /// `ib_read_bw`
    Read,
}

impl Program {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "ib_send_bw",
            Self::Write => "ib_write_bw",
            Self::Read => "ib_read_bw",
        }
    }
}

/// The measurement.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Which.
    pub program: Program,
    /// Messages (`-n`).
    pub count: usize,
    /// Length of one, bytes (`-s`).
    pub len: usize,
    /// Receives of the server (`-r`).
    pub receives: usize,
}

impl Work {
    /// Destinations exchanged before the data.
    fn before(&self) -> usize {
        if self.program == Program::Send { 6 } else { 5 }
    }

    /// Sends after which the server tells the client of them.
    fn credit(&self) -> usize {
        (self.receives / 5).max(1)
    }

    /// The end that the data moves over. Its memory begins with a message's bytes, behind which the client has the counter of its credits.
    fn data(&self, context: &Context, receives: usize) -> End {
        End::new(context, receives, self.len)
    }
}

/// Where the counter of credits is, behind the message.
fn counter_at(work: &Work) -> usize {
    work.len.next_multiple_of(8)
}

fn name_memory(message: &mut [u8], at: RemoteAddress) {
    message[STAG_AT..STAG_AT + 4].copy_from_slice(&at.stag.to_be_bytes());
    message[ADDRESS_AT..ADDRESS_AT + 8].copy_from_slice(&at.to.to_be_bytes());
}

fn named_memory(message: &[u8]) -> RemoteAddress {
    let number =
        |at: usize, len: usize| message[at..at + len].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    RemoteAddress { stag: number(STAG_AT, 4) as u32, to: number(ADDRESS_AT, 8) }
}

/// Serve one client: everything that it says comes back, with our memory in place of its own; then it does its work on our memory.
pub fn serve(context: &Context, work: &Work) -> Result<End, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let listener = context.listen(PORT, 4).map_err(|error| text(&error))?;
    let talk = End::new(context, 8, 256);
    talk.accept(request(context, &listener)?)?;
    let mut data: Option<End> = None;
    let (mut destinations, mut results, mut received) = (0, 0, 0);
    let mut client = RemoteAddress { to: 0, stag: 0 };
    let deadline = context.now() + 4 * LIMIT.as_nanos() as u64;
    loop {
        if context.now() > deadline {
            return Err(format!("{} has not come to an end", work.program.name()));
        }
        if data.is_none()
            && let Some(request) = listener.poll()
        {
            let receives = if work.program == Program::Send { work.receives } else { 0 };
            let end = work.data(context, receives);
            end.accept(request)?;
            data = Some(end);
        }
        if let Some(end) = &data {
            while let Some(message) = end.try_message()? {
                received += 1;
                if message.len() != work.len {
                    return Err(format!("message {received} has {} bytes", message.len()));
                }
                if received % work.credit() == 0 || received == work.count {
                    end.region
                        .write(counter_at(work), &(received as u32).to_le_bytes())
                        .map_err(|e| text(&e))?;
                    end.post(&SendRequest::write(
                        0,
                        end.region.sge(counter_at(work), 4).expect("inside"),
                        client,
                    ));
                }
            }
        }
        if talk.qp.state() != QpState::Rts {
            talk.closed()?;
            if work.program == Program::Send && received != work.count {
                return Err(format!("{received} messages came"));
            }
            return data.ok_or_else(|| "no second connection came".into());
        }
        let Some(mut message) = talk.try_message()? else {
            context.wait(Some(context.now() + 10_000_000)).map_err(|error| text(&error))?;
            continue;
        };
        if message.len() == DESTINATION {
            destinations += 1;
            client = named_memory(&message);
            let memory = &data.as_ref().unwrap_or(&talk).region;
            name_memory(&mut message, memory.remote(0).expect("inside"));
        }
        results += usize::from(message.len() == RESULT);
        talk.region.write(0, &message).map_err(|error| text(&error))?;
        talk.post(&SendRequest::send(0, talk.region.sge(0, message.len()).expect("inside")));
        // The server closes when all is said, that of ib_send_bw both connections.
        let over = match work.program {
            Program::Send => destinations == work.before() + 1,
            Program::Write | Program::Read => results > 0 && message.len() == DESTINATION,
        };
        if over {
            let data = data.as_ref().ok_or("the end came without a second connection")?;
            data.qp.disconnect().map_err(|error| text(&error))?;
            if work.program == Program::Send {
                talk.qp.disconnect().map_err(|error| text(&error))?;
            }
        }
    }
}

/// Connect to a server that may not listen yet, or again.
fn connect(context: &Context, end: &End) -> Result<(), String> {
    let deadline = context.now() + LIMIT.as_nanos() as u64;
    loop {
        match end.connect(PORT, &ConnectParams::default()) {
            Err(ConnectError::Tcp(CloseReason::Refused)) if context.now() < deadline => {}
            other => return other.map(|_| ()).map_err(|error| error.to_string()),
        }
    }
}

/// Be the client of a server in the guest.
pub fn measure(context: &Context, work: &Work) -> Result<(), String> {
    let talk = End::new(context, 8, 256);
    connect(context, &talk)?;
    let say = |message: &[u8]| -> Result<Vec<u8>, String> {
        talk.region.write(0, message).map_err(|error| error.to_string())?;
        talk.post(&SendRequest::send(0, talk.region.sge(0, message.len()).expect("inside")));
        let answer = || talk.try_message().transpose();
        let answer = wait_for(context, LIMIT, "no answer", answer)??;
        if answer.len() == message.len() {
            Ok(answer)
        } else {
            Err(format!("{message:?} was answered by {answer:?}"))
        }
    };
    let mut version = [0; 16];
    version[..4].copy_from_slice(b"6.06");
    say(&version)?;
    say(&4096u32.to_be_bytes())?;
    say(&64u32.to_be_bytes())?;
    say(b"3\0")?;
    let mut destination = [0; DESTINATION];
    say(&destination)?;
    let data = work.data(context, 0);
    connect(context, &data)?;
    say(&destination)?;
    let own = if work.program == Program::Send { counter_at(work) } else { 0 };
    name_memory(&mut destination, data.region.remote(own).expect("inside"));
    let mut server = RemoteAddress { to: 0, stag: 0 };
    for _ in 2..work.before() {
        server = named_memory(&say(&destination)?);
    }
    let start = context.now();
    transfer(context, &data, work, server)?;
    let microseconds = context.now().saturating_sub(start).max(1) as f64 / 1000.0;
    say(&destination)?;
    if work.program != Program::Send {
        // Size, messages, peak and average in MB/s, millions of messages a second: the server prints them.
        let rate = work.count as f64 / microseconds;
        let bandwidth = rate * work.len as f64;
        let [bandwidth, rate] = [bandwidth, rate].map(f64::to_bits);
        for result in [work.len as u64, work.count as u64, bandwidth, bandwidth, rate] {
            say(&result.to_be_bytes())?;
        }
        say(&destination)?;
    }
    // As the program does: it waits for neither before it closes the other.
    data.qp.disconnect().map_err(|error| error.to_string())?;
    talk.qp.disconnect().map_err(|error| error.to_string())?;
    data.closed()?;
    talk.closed()
}

/// The client's work.
fn transfer(context: &Context, data: &End, work: &Work, server: RemoteAddress) -> Result<(), String> {
    const DEPTH: usize = 8;
    let pattern: Vec<u8> = (0..work.len).map(|n| (n % 251) as u8).collect();
    data.region.write(0, &pattern).map_err(|error| error.to_string())?;
    let (mut posted, mut done) = (0, 0);
    let credits =
        || u32::from_le_bytes(data.bytes(counter_at(work), 4).try_into().expect("four bytes")) as usize;
    while done < work.count {
        // The server of ib_send_bw has so many receives that are not used up.
        let room = if work.program == Program::Send { credits() + work.receives } else { work.count };
        while posted < work.count.min(done + DEPTH).min(room) {
            let sge = data.region.sge(0, work.len).expect("inside");
            data.post(&match work.program {
                Program::Send => SendRequest::send(posted as u64, sge),
                Program::Write => SendRequest::write(posted as u64, sge, server),
                Program::Read => SendRequest::read(posted as u64, sge, server),
            });
            posted += 1;
        }
        if posted == done {
            // Credits come as Writes, of which no completion tells.
            let more = || (credits() + work.receives > posted).then_some(());
            wait_for(context, LIMIT, "no credits", more)?;
            continue;
        }
        let completion = data.completion()?;
        let opcode = match work.program {
            Program::Send => WcOpcode::Send,
            Program::Write => WcOpcode::Write,
            Program::Read => WcOpcode::Read,
        };
        if completion.status != WcStatus::Ok || completion.opcode != opcode {
            return Err(format!("{completion:?}"));
        }
        done += 1;
    }
    Ok(())
}
